// The transport alone, without the line: what acts on the live actor.
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const [board, hand] = [await part(model, "board"), await part(model, "hand")];
  const root = make("div", { class: "rn-timeline" });
  const transport = makeTransport(root, board, { ask: (action, args, node) => send(board, hand, action, args, node) });
  for (const group of root.querySelectorAll(".rn-look, .rn-from")) group.remove();
  const update = () => transport.show({ state: { follows: false, step: 0 }, flags: board.get("flags"), nothing: true });
  subscriptions.on(board, "change:flags", update);
  update();
  el.append(root);
  keepShortcutsAway(root);
  return () => subscriptions.end();
}
VIEWS.live = render;
