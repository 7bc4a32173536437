// What stays: the policy in force; below its choice what the chosen one does, the disk, and the checkpoint looked at.
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const [board, hand] = [await part(model, "board"), await part(model, "hand")];
  if (model.get("heads")) {
    const code = make("code");
    el.append(make("section", { class: "rn-part", "aria-label": "What stays" }, make("header", {}, make("h3", {}, "What stays"), make("span", { class: "rn-soft" }, "in force: ", code))));
    const show = () => setText(code, model.get("in_force"));
    subscriptions.on(model, "change:in_force", show);
    show();
    return () => subscriptions.end();
  }
  const button = (action, label, help, classes = "") => {
    const words = make("span", {}, label);
    const node = make("button", { type: "button", class: `rn-b rn-small ${classes}`, "data-action": action.split(".")[1], title: help }, words);
    return { action, help, node, words };
  };
  const press = (one, args = () => ({})) => one.node.addEventListener("click", () => {
    if (one.node.getAttribute("aria-disabled") === "true") sayHere(board, `${one.words.textContent}: ${one.node.title}`);
    else send(board, hand, one.action, args(), one.node);
  });
  const adopt = button("retention.adopt", "Adopt", "Exactly what is shown crossed out");
  const runs = button("retention.runs", "Earlier runs…", "Delete all runs but the newest; first it is shown what goes");
  const going = make("b"), staying = make("span", { class: "rn-soft" });
  const preview = make("div", { class: "rn-preview", role: "status" }, make("p", {}, going, make("br"), staying));
  const free = make("span", { class: "rn-soft rn-num" });
  const own = make("i", { class: "rn-own" }), others = make("i", { class: "rn-others" });
  const meter = make("div", { class: "rn-meter", role: "img" }, own, others);
  const ownWords = make("span"), rate = make("span");
  const disk = make("section", { class: "rn-part", "aria-label": "Disk" }, make("header", {}, make("h3", {}, "Disk"), free), meter,
    make("p", { class: "rn-soft rn-num rn-apart" }, make("span", {}, make("b", { class: "rn-own-key" }, "■"), ownWords), make("span", {}, "▨ others"), rate));
  const name = make("h3");
  const label = make("input", { type: "text", maxlength: "200", placeholder: "why it is kept", "aria-label": "Label of the pin" });
  const pin = button("moment.pin", "Pin", "Keep this checkpoint whatever the policy says");
  const drop = button("retention.consider", "Delete…", "Delete this checkpoint; first it is asked");
  const time = make("span", { class: "rn-soft rn-num rn-nowrap" });
  const one = make("section", { class: "rn-part", "aria-label": "One checkpoint" }, make("header", {}, name, time), make("div", { class: "rn-buttons" }, label, pin.node, drop.node));
  const root = make("div", { class: "rn-stays" }, make("div", { class: "rn-preview-row" }, preview, adopt.node), make("div", { class: "rn-buttons" }, runs.node), disk, one);
  el.append(root);
  press(adopt, () => ({ shown: model.get("preview").id }));
  press(runs);
  press(drop);
  pin.node.addEventListener("click", () => {
    const pinned = model.get("one").pin !== null && model.get("one").pin !== undefined;
    if (pin.node.getAttribute("aria-disabled") === "true") sayHere(board, `Pin: ${pin.node.title}`);
    else send(board, hand, pinned ? "moment.unpin" : "moment.pin", pinned ? {} : { label: label.value }, pin.node);
  });
  label.addEventListener("keydown", (event) => { if (label.readOnly && event.key === " ") event.preventDefault(); }); // it would scroll the page
  label.addEventListener("keydown", (event) => { if (isEnter(event) && label.value.trim() && !label.readOnly) pin.node.click(); });
  let seen = 0;
  const show = () => {
    const flags = board.get("flags"), { id = 0, going: n = 0, words = "", more = "" } = model.get("preview");
    // What a choice would do is spoken, and not what each commit changes of it.
    if (seen && id && id !== seen) setAttribute(preview, "aria-live", "off");
    setText(going, words);
    setText(staying, more);
    if (!id) setAttribute(preview, "aria-live", "polite"); // it is on its way
    seen = id;
    setText(adopt.words, n ? `Adopt, delete ${n.toLocaleString("en-US")}` : "Adopt");
    adopt.node.classList.toggle("rn-danger", n > 0);
    const chosen = model.get("one"), pinned = chosen.pin !== null && chosen.pin !== undefined;
    setText(name, chosen.name || "No checkpoint chosen");
    setText(time, chosen.time ?? "");
    setText(pin.words, pinned ? "Unpin" : "Pin");
    pin.action = pinned ? "moment.unpin" : "moment.pin";
    // What is being typed stays while newer checkpoints come.
    if (pinned) label.value = chosen.pin;
    else if (label.readOnly || (label.dataset.of !== chosen.name && !board.get("playhead").follows && document.activeElement !== label)) label.value = "";
    label.dataset.of = chosen.name;
    label.readOnly = pinned;
    for (const { action, help, node } of [adopt, runs, drop]) showFlag(node, flags[action], help);
    showFlag(pin.node, flags[pin.action], pinned ? "Let the policy decide on it again" : "Keep this checkpoint whatever the policy says");
  };
  const showDisk = () => {
    const { own: mine = 0, free: left = null, all = null, words = "", own_words = "", rate: speed = "" } = model.get("disk");
    setText(free, words);
    setText(ownWords, ` this store ${own_words}`);
    setText(rate, speed);
    meter.hidden = all === null;
    if (all === null) return;
    own.style.width = `max(${mine ? 3 : 0}px, ${(100 * mine) / all}%)`;
    others.style.width = `${Math.max(0, (100 * (all - left - mine)) / all)}%`;
    setAttribute(meter, "aria-label", `This store ${own_words}; ${words}`);
  };
  for (const trait of ["preview", "one"]) subscriptions.on(model, `change:${trait}`, show);
  subscriptions.on(model, "change:disk", showDisk);
  subscriptions.on(board, "change:flags", show);
  show();
  showDisk();
  keepShortcutsAway(root);
  return () => subscriptions.end();
}
VIEWS.stays = render;
