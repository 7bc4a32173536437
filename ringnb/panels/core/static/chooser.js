// Chooses a checkpoint by its name, so that the choice stays when older ones are retired. The list comes
// from the frame's model; the choice goes by this one's own, which the kernel never writes to.
function render({ model, el }) {
  const ears = listening();
  const key = model.get("key");
  const scrub = model.get("scrub");
  const label = model.get("label");
  const box = make("div", { class: "ringnb-chooser", role: "group", "aria-label": label });
  const select = make("select", scrub ? { size: "6", "aria-label": `${label}: list` } : { "aria-label": label });
  const range = make("input", { type: "range", min: "0", max: "0", step: "1", "aria-label": `${label}: slider` });
  const number = make("input", { type: "number", min: "1", step: "1", "aria-label": `${label}: number` });
  const count = make("span", {});
  const back = make("button", { type: "button", class: "ringnb-button" }, "Previous");
  const on = make("button", { type: "button", class: "ringnb-button" }, "Next");
  if (scrub) box.append(back, range, on, number, count, select);
  else box.append(make("span", { class: "widget-label", "aria-hidden": "true" }, label), select);
  el.append(box);
  const voice = speaking(model, ears, el);
  let frame = null;
  let items = [];
  let chosen = "";
  const place = () => (chosen ? items.findIndex((item) => item.name === chosen) : items.length - 1);
  const say = () => {
    const at = place();
    range.max = String(Math.max(0, items.length - 1));
    range.value = String(Math.max(0, at));
    range.setAttribute("aria-valuetext", at >= 0 ? items[at].text : "none");
    number.max = String(items.length);
    if (document.activeElement !== number) number.value = String(at + 1);
    count.textContent = ` of ${items.length}`;
    select.value = chosen;
    back.setAttribute("aria-disabled", String(at <= 0));
    on.setAttribute("aria-disabled", String(at >= items.length - 1));
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
    say();
  };
  const choose = (name) => { chosen = name; say(); voice.send({ choose: name }); };
  const chooseAt = (at) => { if (items[at] && !items[at].bad) choose(items[at].name); else say(); };
  select.addEventListener("change", () => choose(select.value));
  range.addEventListener("change", () => chooseAt(Number(range.value)));
  range.addEventListener("input", () => { number.value = String(Number(range.value) + 1); });
  number.addEventListener("change", () => chooseAt(Number(number.value) - 1));
  back.addEventListener("click", () => { if (place() > 0) chooseAt(place() - 1); });
  on.addEventListener("click", () => { if (place() < items.length - 1) chooseAt(place() + 1); });
  modelOf(model, model.get("frame")).then((found) => {
    frame = found;
    const take = () => { items = frame.get("items"); fill(); };
    const echo = () => { const name = frame.get("chosen")[key] ?? ""; if (name !== chosen) { chosen = name; say(); } };
    chosen = frame.get("chosen")[key] ?? "";
    ears.to(frame, "change:items", take);
    ears.to(frame, "change:chosen", echo);
    voice.reads(frame);
    take();
  }).catch(() => {});
  return () => ears.end();
}
export default { render };
