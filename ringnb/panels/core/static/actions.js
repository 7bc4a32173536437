// Buttons that work while a cell runs: what they show comes from the board, what they send goes by the hand.
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const bar = make("div", { class: "ringnb-actions", role: "toolbar", "aria-label": model.get("label") });
  const [board, hand] = [await part(model, "board"), await part(model, "hand")];
  const buttons = model.get("actions").map(([action, label, help]) => {
    const words = make("span", {}, label);
    const button = make("button", { type: "button", class: "ringnb-button", title: help, "data-action": action.split(".").at(-1) }, words);
    button.addEventListener("click", () => {
      if (button.getAttribute("aria-disabled") === "true") sayHere(board, `${words.textContent}: ${button.title}`);
      else send(board, hand, action, {}, button);
    });
    bar.append(button);
    return { action, button, words, label, help };
  });
  const update = () => {
    const flags = board.get("flags");
    for (const { action, button, words, label, help } of buttons) {
      showFlag(button, flags[action], help);
      setText(words, flags[action]?.label ?? label);
    }
  };
  subscriptions.on(board, "change:flags", update);
  update();
  el.prepend(bar);
  return () => subscriptions.end();
}
VIEWS.actions = render;
