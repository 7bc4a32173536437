// The button that lets a click in the picture disturb a cell of the live actor: a state of the page alone.
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const [picture, board] = await Promise.all(["picture", "board"].map((name) => part(model, name)));
  const words = make("span", {}, "Disturb a cell");
  const help = "Click a cell of the picture, or move to it with the arrows and press Enter";
  const button = make("button", { type: "button", class: "rn-b", "aria-pressed": "false", title: help }, icon("M7.300 1h1.400v3.700a3.400 3.400 0 0 1 2.600 2.600H15v1.400h-3.700a3.400 3.400 0 0 1-2.600 2.600V15H7.300v-3.700a3.400 3.400 0 0 1-2.600-2.600H1V7.300h3.700a3.400 3.400 0 0 1 2.600-2.600zM8 6a2 2 0 1 0 0 4 2 2 0 0 0 0-4z"), words);
  const root = make("div", { class: "rn-stage" }, button);
  el.append(root);
  const show = () => {
    const aim = Boolean(picture.rnShared?.aim);
    setText(words, aim ? "Stop disturbing" : "Disturb a cell");
    showFlag(button, { ...board.get("flags")["live.inject"], pressed: aim }, help);
  };
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") === "true") { sayHere(board, `${words.textContent}: ${button.title}`); return; }
    picture.rnShared ??= { colours: "fits", aim: false, cell: null, larger: false, swipe: 0.5 };
    picture.rnShared.aim = !picture.rnShared.aim;
    picture.trigger("rn:shared");
  });
  subscriptions.on(picture, "rn:shared", show);
  subscriptions.on(board, "change:flags", show);
  show();
  keepShortcutsAway(root);
  return () => subscriptions.end();
}
export default { render };
