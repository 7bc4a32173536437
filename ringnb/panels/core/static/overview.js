// All actors at a glance: opens over the stage when the head's button is pressed, and sends what acts on all.
const ACTS = [
  ["live.run_all", "Run all", ""],
  ["live.pause_all", "Pause all", ""],
  ["live.snapshot_all", "Snapshot all", ""],
  ["live.stop", "Stop kernel…", "rn-danger"],
];
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const [board, hand] = [await part(model, "board"), await part(model, "hand")];
  const count = model.get("count"), number = count.toLocaleString("en-US"), many = count > MOST_CARDS;
  const box = make("div", { class: "rn-actors", role: "dialog", "aria-label": "All actors", tabindex: "-1" });
  const bar = make("div", { class: "rn-actorsbar", role: "toolbar", "aria-label": "All actors" }, make("h3", {}, many ? `${number} actors: a dot each` : `${number} actors`), make("span", { class: "rn-grow" }));
  const close = make("button", { type: "button", class: "rn-b rn-small rn-ghost" }, icon("close"), "Close");
  const sure = make("div", { class: "rn-actorsbar", role: "group", "aria-label": "Stop the kernel?" });
  const buttons = ACTS.map(([action, label, look]) => {
    const button = make("button", { type: "button", class: `rn-b rn-small ${look}`, "data-action": action.split(".")[1] }, label);
    button.addEventListener("click", () => {
      if (button.getAttribute("aria-disabled") === "true") sayHere(board, `${label}: ${button.title}`);
      else if (action === "live.stop") { sure.hidden = false; keep.focus(); }
      else send(board, hand, action, {}, button);
    });
    bar.append(button);
    return { action, button };
  });
  const stop = make("button", { type: "button", class: "rn-b rn-small rn-danger" }, "Stop it");
  const keep = make("button", { type: "button", class: "rn-b rn-small" }, "Keep it running");
  stop.addEventListener("click", () => { send(board, hand, "live.stop", {}, stop); sure.hidden = true; buttons.at(-1).button.focus(); });
  keep.addEventListener("click", () => { sure.hidden = true; buttons.at(-1).button.focus(); });
  sure.append(make("span", {}, "Stop the kernel? Every actor is checkpointed first"), stop, keep);
  sure.hidden = true;
  bar.append(close);
  const grid = make("div", { class: "rn-actorgrid", role: "toolbar", "aria-label": "Which actor" });
  const tell = (open) => send(board, hand, "actor.sheet", { open, shown: dots?.shown() ?? "" });
  const dots = many ? makeDots(model, board, count, (slot, node) => send(board, hand, "actor.choose", { slot }, node), () => tell(true)) : null;
  box.append(bar, sure, dots?.node ?? grid);
  box.hidden = true;
  el.append(box);
  el.classList.add("rn-overview");

  const items = new Map(); // by slot
  const itemOf = ({ slot, name }) => {
    let item = items.get(slot);
    if (item) return item;
    const canvas = make("canvas", { "aria-hidden": "true", width: "64", height: "64" });
    const words = make("span", { class: "rn-soft" }), none = make("span", { class: "rn-none" }, "Nothing stored");
    const button = make("button", { type: "button", class: "rn-actorcard" }, make("span", { class: "rn-shot" }, canvas, none), make("b", {}, `${slot}: ${name}`), words);
    button.addEventListener("click", () => { send(board, hand, "actor.choose", { slot }, button); shut(); });
    item = { canvas, words, none, button };
    items.set(slot, item);
    grid.append(button);
    return item;
  };
  const show = () => {
    if (box.hidden) return;
    for (const card of model.get("cards")) {
      const item = itemOf(card);
      setText(item.words, `${card.state}${card.bad ? ", not good" : ""} · step ${card.step.toLocaleString("en-US")}`);
      item.none.hidden = card.stored;
      setAttribute(item.button, "data-bad", String(card.bad));
      setAttribute(item.button, "aria-current", String(card.slot === board.get("actor").slot));
    }
    dots?.show();
    for (const { action, button } of buttons) showFlag(button, board.get("flags")[action], "");
    keepShortcutsAway(box);
  };
  const draw = async () => {
    if (box.hidden) return;
    await dots?.draw();
    await paintCards(items, model.get("pictures"));
  };
  // The focus that opening gave to the whole goes on to what changes nothing, once that is there.
  let opening = false;
  const toChosen = () => {
    const chosen = dots?.field ?? items.get(board.get("actor").slot)?.button;
    if (!opening || !chosen) return;
    if (document.activeElement === box) chosen.focus();
    opening = false;
  };
  box.addEventListener("pointerdown", () => { opening = false; });
  let opener = null;
  const shut = () => {
    if (box.hidden) return;
    box.hidden = true;
    setAttribute(opener, "aria-expanded", "false");
    tell(false);
    opener.focus();
  };
  close.addEventListener("click", shut);
  for (const name of ["change:cards", "change:dots"]) subscriptions.on(model, name, () => { show(); toChosen(); draw(); });
  subscriptions.on(model, "change:pictures", draw);
  subscriptions.on(board, "change:flags", show);
  subscriptions.on(board, "change:actor", () => { show(); if (!box.hidden) dots?.drawFrames(); });
  onThemeChange(subscriptions, draw);
  let root = null, tries = 0;
  const toggle = (event) => {
    opener = event.detail.button;
    if (!box.hidden) { shut(); return; }
    box.hidden = false;
    setAttribute(opener, "aria-expanded", "true");
    tell(true);
    dots?.begin();
    show();
    draw();
    box.focus();
    opening = true;
    toChosen();
  };
  box.addEventListener("rn-shut", () => { if (sure.hidden) shut(); else keep.click(); });
  const adopt = () => {
    root = el.closest(".rn-cockpit");
    if (!root) { if (tries++ < 200) setTimeout(adopt, 25); return; }
    for (const [event, handler] of [["rn-all", toggle], ["rn-tab", shut]]) {
      root.addEventListener(event, handler);
      subscriptions.atEnd(() => root.removeEventListener(event, handler));
    }
  };
  adopt();
  return () => subscriptions.end();
}
VIEWS.overview = render;
