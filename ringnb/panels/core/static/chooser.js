// Chooses a checkpoint by its name, so that the choice stays when older ones are retired.
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const key = model.get("key");
  const scrub = model.get("scrub");
  const label = model.get("label");
  const box = make("div", { class: "ringnb-chooser", role: "group", "aria-label": label });
  const select = make("select", scrub ? { size: "6", "aria-label": `${label}: list` } : { "aria-label": label });
  const range = make("input", { type: "range", min: "0", max: "0", step: "1", "aria-label": `${label}: slider` });
  const number = make("input", { type: "number", min: "1", step: "1", "aria-label": `${label}: number` });
  const count = make("span", {});
  const previous = make("button", { type: "button", class: "ringnb-button" }, "Previous");
  const next = make("button", { type: "button", class: "ringnb-button" }, "Next");
  if (scrub) box.append(previous, range, next, number, count, select);
  else box.append(make("span", { class: "widget-label", "aria-hidden": "true" }, label), select);
  el.append(box);
  const [board, hand] = [await part(model, "board"), await part(model, "hand")];
  let items = [];
  let chosen = "";
  const position = () => (chosen ? items.findIndex((item) => item.name === chosen) : items.length - 1);
  const showChoice = () => {
    const at = position();
    range.max = String(Math.max(0, items.length - 1));
    range.value = String(Math.max(0, at));
    range.setAttribute("aria-valuetext", at >= 0 ? items[at].text : "none");
    number.max = String(items.length);
    if (document.activeElement !== number) number.value = String(at + 1);
    count.textContent = ` of ${items.length}`;
    select.value = chosen;
    previous.setAttribute("aria-disabled", String(at <= 0));
    next.setAttribute("aria-disabled", String(at >= items.length - 1));
  };
  const fill = () => {
    const wanted = [{ name: "", text: model.get("follow") }, ...[...items].reverse()];
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
  const choose = (name) => { chosen = name; showChoice(); send(board, hand, `choose.${key}`, { name }, box); };
  const chooseAt = (at) => { if (items[at] && !items[at].bad) choose(items[at].name); else showChoice(); };
  select.addEventListener("change", () => choose(select.value));
  range.addEventListener("change", () => chooseAt(Number(range.value)));
  range.addEventListener("input", () => { number.value = String(Number(range.value) + 1); });
  number.addEventListener("change", () => chooseAt(Number(number.value) - 1));
  previous.addEventListener("click", () => { if (position() > 0) chooseAt(position() - 1); });
  next.addEventListener("click", () => { if (position() < items.length - 1) chooseAt(position() + 1); });
  const takeItems = () => { items = model.get("items"); fill(); };
  const takeChoice = () => {
    const name = board.get("chosen")[key] ?? "";
    if (name !== chosen) { chosen = name; showChoice(); }
  };
  chosen = board.get("chosen")[key] ?? "";
  subscriptions.on(model, "change:items", takeItems);
  subscriptions.on(board, "change:chosen", takeChoice);
  takeItems();
  return () => subscriptions.end();
}
export default { render };
