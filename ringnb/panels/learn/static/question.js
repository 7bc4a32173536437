// A question; or Commit, Reveal and the answer. Between the two is the field for the prediction, a control of ipywidgets.
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const [board, hand] = [await part(model, "board"), await part(model, "hand")];
  const answer = make("p", { class: "rn-answer", role: "status" });
  const buttons = [["predict.commit", "Commit", "Fix your prediction"], ["predict.reveal", "Reveal", "Measure, and compare"]].map(([action, label, help]) => {
    const node = make("button", { type: "button", class: "rn-b rn-small", "data-action": action.split(".")[1], title: help }, label);
    node.addEventListener("click", () => {
      if (node.getAttribute("aria-disabled") === "true") sayHere(board, `${label}: ${node.title}`);
      else send(board, hand, action, {}, node);
    });
    return { action, help, node };
  });
  const question = make("p", { class: "rn-question" });
  const asks = model.get("asks");
  const parts = asks ? [make("header", {}, make("h3", {}, "Predict first")), question] : [make("div", { class: "rn-buttons", role: "toolbar", "aria-label": "Prediction" }, ...buttons.map((one) => one.node)), answer];
  const root = make("section", { class: "rn-part", "aria-label": asks ? "Predict first" : "Prediction" }, ...parts);
  el.append(root);
  const update = () => {
    const flags = board.get("flags");
    for (const { action, help, node } of buttons) showFlag(node, flags[action], help);
    setText(question, model.get("question"));
    setText(answer, model.get("answer"));
    answer.hidden = !model.get("answer");
  };
  subscriptions.on(board, "change:flags", update);
  for (const name of ["question", "answer"]) subscriptions.on(model, `change:${name}`, update);
  update();
  keepShortcutsAway(root);
  return () => subscriptions.end();
}
VIEWS.question = render;
