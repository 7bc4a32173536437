// The members of an ensemble: a card with a picture for each; of many a map with a dot for each, and the card of
// the one that was chosen there.
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const [board, hand, pictures] = [await part(model, "board"), await part(model, "hand"), await parts(model, "pictures")];
  const count = model.get("count"), many = count > MOST_CARDS;
  const words = make("span"), bar = make("progress", { max: "1", "aria-label": "Steps done, of all members" });
  const grid = make("div", { class: "rn-actorgrid", role: "list", "aria-label": "Members" });
  const dots = many ? makeDots(model, board, count, (slot, node) => send(board, hand, "members.choose", { slot }, node), () => send(board, hand, "members.show", { shown: dots.shown() })) : null;
  el.append(make("div", { class: "rn-headrow rn-memberbar" }, make("h3", {}, `${count.toLocaleString("en-US")} members`), words, bar), ...(dots ? [dots.node] : []), grid);

  const items = new Map(); // by slot
  const itemOf = ({ slot, name }) => {
    let item = items.get(slot);
    if (item) return item;
    const canvas = make("canvas", { "aria-hidden": "true", width: "64", height: "64" });
    const state = make("span", { class: "rn-soft" }), done = make("progress", { max: "1", "aria-label": `Steps done of ${name}` });
    item = { canvas, state, done, node: make("div", { class: "rn-actorcard", role: "listitem" }, canvas, make("b", {}, name), done, state) };
    items.set(slot, item);
    grid.append(item.node);
    return item;
  };
  const show = () => {
    setText(words, model.get("words"));
    bar.value = model.get("part");
    const cards = model.get("cards");
    for (const [slot, item] of items) {
      if (cards.some((card) => card.slot === slot)) continue;
      item.node.remove();
      items.delete(slot);
    }
    for (const card of cards) {
      const item = itemOf(card);
      setText(item.state, card.step < 0 ? card.state : `step ${card.step.toLocaleString("en-US")} · ${card.state}`);
      setAttribute(item.state, "title", card.state);
      setAttribute(item.node, "data-bad", String(card.bad));
      item.done.value = card.part;
    }
    dots?.show();
    keepShortcutsAway(el);
  };
  const draw = async () => {
    await dots?.draw();
    await paintCards(items, Object.fromEntries(pictures.map((one) => one.get("picture")).filter(({ packed }) => packed).map((one) => [one.slot, one])));
  };
  for (const name of ["change:cards", "change:words", "change:part", "change:dots"]) subscriptions.on(model, name, show);
  for (const name of ["change:cards", "change:dots"]) subscriptions.on(model, name, draw);
  for (const one of pictures) subscriptions.on(one, "change:picture", draw);
  subscriptions.on(board, "change:actor", () => dots?.drawFrames());
  onThemeChange(subscriptions, draw);
  dots?.begin();
  show();
  draw();
  return () => subscriptions.end();
}
VIEWS.members = render;
