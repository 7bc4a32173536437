// Switches that break the session, buttons that do it once, and what the design does about what is set.
const SWITCHES = [["faults.slow", "Slow disk", "Every write of a file takes longer"], ["faults.full", "Full disk", "Every write fails half-way with ENOSPC"], ["faults.lose", "Lose an answer", "Throw away the next answer of the kernel"]];
const BUTTONS = [["faults.corrupt", "Flip a bit here", "Of the checkpoint at the playhead: reading it is an error that names it", ""], ["faults.kill", "Kill the kernel", "End the kernel's threads now", "rn-danger"]];
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const [board, hand] = [await part(model, "board"), await part(model, "hand")];
  const press = (node, action, name) => node.addEventListener("click", () => {
    if (node.getAttribute("aria-disabled") === "true") sayHere(board, `${name}: ${node.title}`);
    else send(board, hand, action, {}, node);
  });
  const button = ([action, label, help, classes]) => {
    const node = make("button", { type: "button", class: `rn-b rn-small ${classes}`, "data-action": action.split(".")[1], title: help }, label);
    press(node, action, label);
    return { action, help, node };
  };
  const switches = SWITCHES.map(([action, label, help]) => {
    const words = make("span", { title: help }, label);
    const node = make("button", { type: "button", class: "rn-switch", role: "switch", "data-action": action.split(".")[1], "aria-label": label, "aria-checked": "false" });
    press(node, action, label);
    words.addEventListener("click", () => node.click());
    return { action, label, help, node, words, row: make("div", { class: "rn-switch-row" }, node, words) };
  });
  const clear = button(["faults.clear", "All clear", "Set the switches back", ""]);
  const buttons = BUTTONS.map(button);
  const hint = make("p", { class: "rn-hint" });
  const lessons = make("dl", { class: "rn-lessons" }, ...model.get("lessons").flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  const root = make("section", { class: "rn-part", "aria-label": "Break it, on purpose" }, make("header", {}, make("h3", {}, "Break it, on purpose"), clear.node),
    make("div", { class: "rn-switches" }, ...switches.map((one) => one.row)), make("div", { class: "rn-buttons", role: "toolbar", "aria-label": "Break it once" }, ...buttons.map((one) => one.node)), hint, lessons);
  el.append(root);
  const about = Object.fromEntries(model.get("lessons"));
  const update = () => {
    const flags = board.get("flags");
    for (const { action, label, help, node, words } of switches) {
      const flag = flags[action] ?? {};
      setAttribute(node, "aria-checked", String(Boolean(flag.pressed)));
      setAttribute(node, "aria-disabled", String(Boolean(flag.disabled)));
      setAttribute(node, "title", flag.why ?? help);
      setText(words, flag.label ?? label);
    }
    for (const { action, help, node } of [clear, ...buttons]) showFlag(node, flags[action], help);
    const set = switches.filter(({ action }) => flags[action]?.pressed);
    setText(hint, set.map(({ label }) => `${label}: ${about[label]}.`).join(" "));
    hint.hidden = !set.length;
  };
  subscriptions.on(board, "change:flags", update);
  update();
  keepShortcutsAway(root);
  return () => subscriptions.end();
}
VIEWS.faults = render;
