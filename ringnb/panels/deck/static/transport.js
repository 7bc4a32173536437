// The transport: buttons with a green dot act on the live actor, those with a black flag on the playhead.
Object.assign(ICONS, {
  run: "M4 2.5v11l9-5.5z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z",
  step: "M3 3v10l6-5zM11 3h2v10h-2z",
  snapshot: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zm0 1.6a4.9 4.9 0 1 1 0 9.8 4.9 4.9 0 0 1 0-9.8zm0 2.4a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z",
  earlier: "M3 3h2v10H3zM13 3v10L6 8z",
  back: "M11.5 3v10L4.5 8z",
  on: "M4.5 3v10l7-5z",
  later: "M3 3v10l7-5zM11 3h2v10h-2z",
  play: "M2 3v10l6-5zM8 3v10l6-5z",
  restore: "M3 1.5v5h5L6 4.6a4.5 4.5 0 1 1-2.3 5.2l-1.7.6A6.3 6.3 0 1 0 4.8 3.3z",
  branch: "M3.5 1a2 2 0 0 0-.8 3.8v6.4a2 2 0 1 0 1.6 0V9.6h4.2a3 3 0 0 0 3-3V4.8a2 2 0 1 0-1.6 0v1.8c0 .8-.6 1.4-1.4 1.4H4.3V4.8A2 2 0 0 0 3.5 1z",
});
function makeTransport(root, board, act) {
  const nodes = {};
  let flags = {}, nothing = true, playing = false;
  // A button of an action: `own` makes it do something on the page, else the action is sent.
  const button = (name, label, help, shape, own = null) => {
    const text = make("span", {}, label);
    const node = make("button", { type: "button", class: "rn-b", title: help, "data-do": name }, ...(shape ? [icon(shape)] : []), text);
    node.addEventListener("click", () => {
      if (node.getAttribute("aria-disabled") === "true") sayHere(board, `${node.getAttribute("aria-label") ?? text.textContent}: ${node.title}`);
      else if (own) own(node);
      else act.ask(name, {}, node);
    });
    nodes[name] = { node, text, help };
    return node;
  };
  const iconOnly = (node, name) => { node.setAttribute("aria-label", name); node.classList.add("rn-sq"); node.lastChild.remove(); return node; };
  const token = (shape, className) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 12 12");
    svg.setAttribute("class", `rn-token ${className}`);
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", shape);
    svg.append(path);
    return svg;
  };
  const count = make("input", { type: "number", min: "1", step: "1", value: "100", "aria-label": "How many steps" });
  let taken = count.value; // what was used last
  const run = button("live.run", "Run", "Let the actor step freely", "run", (node) => act.ask(running() ? "live.pause" : "live.run", {}, node));
  const step = button("live.step", "Step", "Take so many steps", "step", (node) => {
    const n = Number(count.value);
    if (Number.isInteger(n) && n >= 1) { taken = count.value; act.ask("live.step", { n }, node); return; }
    sayHere(board, `Step: ${count.value || "nothing"} is refused, write beside it how many steps, 1 or more; it stays ${taken}`);
    count.value = taken;
    count.focus();
  });
  count.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.stopPropagation(); step.click(); } });
  const snapshot = button("live.snapshot", "Snapshot now", "Checkpoint the live state", "snapshot");
  const liveGroup = make("div", { class: "rn-g rn-live", role: "toolbar", "aria-label": "Live actor" }, token("M6 1a5 5 0 1 0 0 10A5 5 0 0 0 6 1z", "rn-dot"), run, make("span", { class: "rn-join" }, step, count), snapshot);

  const where = make("input", { type: "number", min: "0", step: "1", "aria-label": "Step to look at", placeholder: "step", class: "rn-where" });
  onEntered(where, () => {
    if (where.value !== "") act.moveTo(Number(where.value));
    where.value = String(act.state.step); // where it has come to: there may be nothing to look at so far off
  });
  const head = make("div", { class: "rn-g rn-look", role: "toolbar", "aria-label": "Playhead" }, token("M1 0h10v7l-5 5-5-5z", "rn-flag"),
    iconOnly(button("look.earlier", "", "Earlier mark (Page Up)", "earlier", () => act.pressMark(-1)), "Earlier mark"),
    iconOnly(button("look.back", "", "One step back (←). Only squares are stored: between two, the earlier one is shown", "back", () => act.moveTo(act.state.step - 1)), "One step back"),
    where,
    iconOnly(button("look.on", "", "One step on (→). Only squares are stored: between two, the earlier one is shown", "on", () => act.moveTo(act.state.step + 1)), "One step on"),
    iconOnly(button("look.later", "", "Later mark (Page Down)", "later", () => act.pressMark(1)), "Later mark"),
    button("look.play", "Play back", "Move the playhead from mark to mark by itself", "play", () => act.play()),
    button("look.newest", "Newest", "Follow the newest checkpoint that leads to the live actor (End)", "M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3z", () => act.toNewest()));
  nodes["look.newest"].node.firstChild.classList.add("rn-dot");

  // Branch asks into which actor: a small box below the button, which takes the focus and gives it back.
  const slot = make("input", { type: "number", min: "0", step: "1", value: "1", "aria-label": "Branch into actor" });
  let suggested = slot.value;
  const go = make("button", { type: "button", class: "rn-b" }, "Branch");
  const cancel = make("button", { type: "button", class: "rn-b" }, "Cancel");
  const outOf = make("span", {}, "");
  let chosen = {}; // what was shown when the box was opened: a newer one may come while it is read
  const origin = make("span", { class: "rn-branch-from" }, "");
  const box = make("div", { class: "rn-branch", role: "dialog", "aria-label": "Branch into another actor" }, origin, make("span", {}, "into actor"), slot, outOf, go, cancel);
  box.hidden = true;
  const open = (shown) => {
    box.hidden = !shown;
    if (!shown) { nodes["moment.branch"].node.focus(); return; }
    chosen = act.here();
    origin.textContent = chosen.name ? `From ${chosen.name}` : "From here";
    slot.focus();
  };
  go.addEventListener("click", () => {
    const into = Number(slot.value), most = Number(slot.max);
    if (slot.value === "" || !Number.isInteger(into) || into < 0 || into > most) {
      sayHere(board, `Branch: there is no actor ${slot.value || "without a number"}, write 0 to ${words(most)}`);
      slot.value = suggested;
      slot.focus();
      return;
    }
    act.ask("moment.branch", { slot: into, ...(chosen.name ? chosen : act.here()) }, nodes["moment.branch"].node);
    open(false);
  });
  cancel.addEventListener("click", () => open(false));
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target !== slot) return;
    go.click();
    event.preventDefault();
    event.stopPropagation();
  });
  box.addEventListener("rn-shut", () => open(false));
  const from = make("div", { class: "rn-g rn-from", role: "toolbar", "aria-label": "From here" },
    button("moment.restore", "Restore here", "The live actor continues from this step; its state is kept first", "restore", (node) => act.ask("moment.restore", act.here(), node)),
    button("moment.branch", "Branch…", "Another actor continues from this step; the live one runs on", "branch", () => open(box.hidden)), box);
  const bar = make("div", { class: "rn-transport" }, liveGroup, head, from);
  root.append(bar);

  const running = () => Boolean(flags["live.run"]?.pressed);
  const LOOK = ["look.earlier", "look.back", "look.on", "look.later", "look.play", "look.newest"];
  return {
    node: (name) => nodes[name].node,
    showPlaying(now) {
      playing = now;
      const { node, text } = nodes["look.play"];
      setText(text, now ? "Halt" : "Play back");
      setAttribute(node, "aria-pressed", String(now));
    },
    showActors(actors) {
      outOf.textContent = `of 0 to ${words(actors.count - 1)}`;
      slot.max = String(actors.count - 1);
      slot.value = suggested = String(actors.into ?? 0);
    },
    show({ state, flags: now, nothing: none }) {
      flags = now;
      nothing = none;
      const live = running();
      setAttribute(bar, "data-dead", String(Boolean(flags["live.snapshot"]?.disabled)));
      const toggle = nodes["live.run"];
      setText(toggle.text, live ? "Pause" : "Run");
      setAttribute(toggle.node, "data-running", String(live));
      const path = toggle.node.querySelector("path");
      setAttribute(path, "d", live ? ICONS.pause : ICONS.run);
      const flag = live ? flags["live.pause"] : flags["live.run"];
      showFlag(toggle.node, flag?.disabled ? { disabled: true, why: flag.why } : {}, live ? "Stop at the next step boundary" : toggle.help);
      for (const name of ["live.step", "live.snapshot", "moment.restore", "moment.branch"]) showFlag(nodes[name].node, flags[name], nodes[name].help);
      const empty = nothing ? { disabled: true, why: "Nothing is stored yet" } : {};
      for (const name of LOOK) {
        const pressed = { "look.play": playing, "look.newest": state.follows && !nothing }[name];
        showFlag(nodes[name].node, pressed === undefined ? empty : { ...empty, pressed }, nodes[name].help);
      }
      where.disabled = nothing;
      if (document.activeElement !== where) where.value = nothing ? "" : String(state.step);
    },
  };
}
