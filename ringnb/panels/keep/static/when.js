// When: the heading with what is due next; or, below the controls, what the interval costs.
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  if (model.get("heads")) {
    const board = await part(model, "board");
    const due = make("span", { class: "rn-soft rn-num" });
    el.append(make("section", { class: "rn-part", "aria-label": "When" }, make("header", {}, make("h3", {}, "When"), due)));
    const show = () => setText(due, model.get("due") || `next ${dueIn(board)}`);
    subscriptions.on(model, "change:due", show);
    subscriptions.on(board, "change:due_at", show);
    subscriptions.every(1000, show);
    show();
    return () => subscriptions.end();
  }
  const hint = make("p", { class: "rn-hint" }), facts = make("dl", { class: "rn-facts rn-alone" });
  el.append(make("div", { class: "rn-part" }, hint, facts));
  const show = () => {
    setText(hint, model.get("cost"));
    facts.replaceChildren(...model.get("facts").flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  };
  for (const trait of ["cost", "facts"]) subscriptions.on(model, `change:${trait}`, show);
  show();
  return () => subscriptions.end();
}
VIEWS.when = render;
