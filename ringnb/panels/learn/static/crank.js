// The crank: the stages of a request, the next one framed, and what a hand can do with it.
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const [board, hand] = [await part(model, "board"), await part(model, "hand")];
  const byHand = model.get("by_hand"), turns = model.get("turns");
  const why = byHand ? "This session was opened with service=False: you turn. Open one without that for a service thread" : "This session was opened with a service thread; open one with service=False to turn by hand";
  const who = make("div", { class: "rn-seg", role: "group", "aria-label": "Who turns the crank" }, ...[["Service", !byHand], ["You", byHand]].map(([label, on]) => {
    const button = make("button", { type: "button", "aria-pressed": String(on), ...(on ? {} : { "aria-disabled": "true", title: why }) }, label);
    if (!on) button.addEventListener("click", () => sayHere(board, `${label}: ${why}`));
    return button;
  }));
  const root = make("section", { class: "rn-part", "aria-label": "Hand crank" }, make("header", {}, make("h3", {}, "Hand crank"), who));
  el.append(root);
  keepShortcutsAway(root);
  if (!byHand) {
    root.append(make("p", { class: "rn-hint" }, "A service thread turns it, thousands of times a second if need be. In a session opened with service=False you stop the world between any two stages."));
    return () => subscriptions.end();
  }
  const stages = make("ol", { class: "rn-stages" }, ...turns.map(([, name, help], i) => make("li", { title: help, "data-stage": String(i) }, `${i + 1} ${name}`)));
  const words = make("span", {}, "Turn");
  const make_ = (action, label, help, classes = "rn-small") => ({ action, help, label, node: make("button", { type: "button", class: `rn-b ${classes}`, "data-action": action }, label) });
  const turn = { action: "", help: "", label: "Turn", node: make("button", { type: "button", class: "rn-b rn-small rn-main", "data-action": "turn" }, icon("M3 2l7 6-7 6zM11 2h2.5v12H11z"), words) };
  const others = [make_("lifecycle.through", "Let it through", "Turn until the selected request is done"), make_("lifecycle.cancel", "Cancel it", "Cancel the selected request; its answer will be ignored"), make_("lifecycle.lose", "Lose the answer", "Throw the answer away: the manager waits for its timeout")];
  root.append(stages, make("div", { class: "rn-buttons", role: "toolbar", "aria-label": "Turn the crank" }, turn.node, ...others.map((one) => one.node)));
  keepShortcutsAway(root);
  for (const one of [turn, ...others]) one.node.addEventListener("click", () => {
    if (one.node.getAttribute("aria-disabled") === "true") sayHere(board, `${one.node.textContent}: ${one.node.title}`);
    else send(board, hand, one.action, {}, one.node);
  });
  const update = () => {
    const flags = board.get("flags");
    const next = Math.max(0, turns.findIndex(([action]) => flags[action]?.pressed));
    [...stages.children].forEach((item, i) => {
      setText(item, i < next ? `✓ ${turns[i][1]}` : `${i + 1} ${turns[i][1]}`);
      setAttribute(item, "class", i < next ? "rn-done" : i === next ? "rn-next" : "");
      if (i === next) setAttribute(item, "aria-current", "step"); else item.removeAttribute("aria-current");
    });
    turn.action = turns[next][0];
    setText(words, `Turn: ${turns[next][1]}`);
    const { pressed: _, ...flag } = flags[turn.action] ?? {};
    showFlag(turn.node, flag, turns[next][2]);
    for (const { action, help, node } of others) showFlag(node, flags[action], help);
  };
  subscriptions.on(board, "change:flags", update);
  update();
  return () => subscriptions.end();
}
VIEWS.crank = render;
