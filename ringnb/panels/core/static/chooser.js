// Chooses a checkpoint by its name, so that the choice stays when older ones are retired.
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const key = model.get("key");
  const label = model.get("label");
  const box = make("div", { class: "ringnb-chooser", role: "group", "aria-label": label });
  const select = make("select", { "aria-label": label });
  box.append(make("span", { class: "widget-label", "aria-hidden": "true" }, label), select);
  el.append(box);
  const [board, hand] = [await part(model, "board"), await part(model, "hand")];
  let chosen = "";
  const showChoice = () => { select.value = chosen; };
  const fill = () => {
    const wanted = [{ name: "", text: model.get("follow") }, ...[...model.get("items")].reverse()];
    const text = JSON.stringify(wanted);
    if (select.dataset.items !== text) {
      select.dataset.items = text;
      select.replaceChildren(...wanted.map((item) => {
        const option = make("option", { value: item.name }, item.text);
        option.disabled = Boolean(item.bad);
        return option;
      }));
    }
    showChoice();
  };
  select.addEventListener("change", () => {
    chosen = select.value;
    send(board, hand, `choose.${key}`, { name: chosen }, box);
  });
  const takeChoice = () => {
    const name = board.get("chosen")[key] ?? "";
    if (name !== chosen) { chosen = name; showChoice(); }
  };
  chosen = board.get("chosen")[key] ?? "";
  subscriptions.on(model, "change:items", fill);
  subscriptions.on(board, "change:chosen", takeChoice);
  fill();
  return () => subscriptions.end();
}
VIEWS.chooser = render;
