// What changes the live actor: a slider and a number per parameter, its pace, and the aim at a cell of the picture.
const SEND_MS = 100; // between two messages while a slider is dragged
const REFUSED_MS = 2500; // so long after the kernel has heard it, in any case what the actor has
const HELD_MS = 1500; // so long after a touch a control shows what it was set to, not what the actor has
const PACES = 5; // decades of the pace's slider, from 1 step a second; its end is no limit
const four = (v) => String(+v.toPrecision(4));
function roundStep(span) {
  const raw = span / 200;
  const ten = 10 ** Math.floor(Math.log10(raw));
  return ten * [1, 2, 5, 10].find((m) => raw <= m * ten * 1.0001);
}
// Sends what was set, at most every SEND_MS, the last values in any case. `post` returns the message's id, by which it is
// known whether a value is on its way: of a kernel that is busy it may be for long.
function makePacer(board, post) {
  let wishes = {};
  const sent = {};
  let timer = 0;
  let sentAt = -Infinity;
  const flush = () => {
    timer = 0;
    if (!Object.keys(wishes).length) return;
    sentAt = performance.now();
    const values = wishes;
    wishes = {};
    const id = post(values);
    for (const name of Object.keys(values)) sent[name] = id;
  };
  return {
    set(name, value) {
      wishes[name] = value;
      if (!timer) timer = setTimeout(flush, Math.max(0, sentAt + SEND_MS - performance.now()));
    },
    isOut: (name) => name in wishes || !isHeard(board, sent[name]),
  };
}
// A slider with a number beside it. `refuses(name)` says why nothing can be set, if so; `scale` maps between the slider
// and the value.
function makeDial(name, help, pacer, refuses, scale) {
  const label = make("span", { class: "rn-dialname", title: help }, name, ...(scale ? [make("small", { class: "rn-soft" }, ` ${scale.unit}`)] : []));
  const range = make("input", { type: "range", step: "any", "aria-label": name, title: help });
  const number = make("input", { type: "number", step: "any", "aria-label": `${name}, number`, title: help });
  const notch = make("i", { class: "rn-notch", hidden: "" });
  const row = make("div", { class: "rn-dial" }, label, make("div", { class: "rn-range" }, range, notch), number);
  let touchedAt = -Infinity;
  let wished = false; // what was set is not heard yet, as far as is known
  let later = 0;
  let low = 0;
  let high = 1;
  let shown = [];
  let entered = null; // what was written and taken: it goes back like any other value, though the focus is there
  const speak = (value) => { if (scale) setAttribute(range, "aria-valuetext", scale.said(value)); }; // its place on the slider is not in its unit
  const touch = (value, other) => {
    if (refuses(name, value)) {
      number.value = scale ? scale.words(shown[0]) : four(shown[0]);
      dial.show(...shown);
      return;
    }
    touchedAt = performance.now();
    wished = true;
    speak(value);
    if (other === number) number.value = scale ? scale.words(value) : four(value);
    else range.value = String(scale ? scale.place(value) : value);
    pacer.set(name, value);
  };
  number.addEventListener("input", () => { entered = null; });
  number.addEventListener("blur", () => { if (shown.length) dial.show(...shown); });
  range.addEventListener("input", () => {
    const at = Number(range.value);
    const step = roundStep(high - low);
    touch(scale ? scale.value(at) : Math.min(high, Math.max(low, +(Math.round(at / step) * step).toPrecision(12))), number);
  });
  onEntered(number, () => {
    const value = number.value === "" && scale ? 0 : Number(number.value);
    entered = number.value;
    if (Number.isFinite(value) && (number.value !== "" || scale)) touch(value, range);
  });
  const dial = {
    row,
    off(isOff) { for (const input of [range, number]) setAttribute(input, "aria-disabled", String(isOff)); },
    heard() {
      if (!wished || pacer.isOut(name)) return;
      wished = false;
      touchedAt = performance.now(); // what comes next may still be from before
      clearTimeout(later); // a value that is refused changes nothing, of which no message would come
      later = setTimeout(() => this.show(...shown), REFUSED_MS);
    },
    // Show what the actor has, and with a notch what it had at the playhead.
    show(value, ends, there) {
      shown = [value, ends, there];
      [low, high] = ends;
      range.min = String(low);
      range.max = String(high);
      const away = there !== null && there !== undefined && Math.abs(there - value) > 1e-9 * Math.abs(value);
      notch.hidden = !(away && there >= low && there <= high);
      if (!notch.hidden) {
        notch.style.left = `calc(8px + (100% - 16px) * ${(there - low) / (high - low)})`;
        notch.title = `${four(there)} at the playhead`;
      }
      clearTimeout(later);
      if (pacer.isOut(name)) return; // it is shown some time after it was heard
      const held = touchedAt + HELD_MS - performance.now();
      if (held > 0) { // what came meanwhile is shown then: it comes once
        later = setTimeout(() => this.show(value, ends, there), held + 10);
        return;
      }
      const at = String(scale ? scale.place(value) : value);
      if (range.value !== at) range.value = at;
      speak(value);
      const words = scale ? scale.words(value) : four(value);
      if ((document.activeElement !== number || number.value === entered) && number.value !== words) number.value = words;
    },
  };
  return dial;
}
const paceScale = {
  unit: "steps/s",
  place: (pace) => (pace > 0 ? Math.min(99, 100 * Math.log10(Math.max(1, pace)) / PACES) : 100),
  value: (at) => (at >= 99.5 ? 0 : +(10 ** (PACES * at / 100)).toPrecision(2)),
  words: (pace) => (pace > 0 ? four(pace) : ""),
  said: (pace) => (pace > 0 ? `${four(pace)} steps/s` : "no limit"),
};
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const [board, hand] = [await part(model, "board"), await part(model, "hand")];
  let picture = null;
  const live = make("span", { class: "rn-livestep" });
  const head = make("header", {}, make("h3", {}, "Change the live actor"), live);
  const rows = make("div", { class: "rn-dials" });
  const more = make("button", { type: "button", class: "rn-b rn-small", "aria-expanded": "false" });
  const params = makePacer(board, (values) => send(board, hand, "live.param", { values }));
  const paces = makePacer(board, ({ pace }) => send(board, hand, "live.pace", { pace }));
  const why = () => board.get("flags")["live.inject"]?.why ?? "";
  const refuses = (name, value) => {
    const wrong = why() || (name === "pace" && value < 0 ? "write 0 or more steps per second, or nothing for no limit" : "");
    if (wrong) sayHere(board, `${name}: ${wrong}`);
    return Boolean(wrong);
  };
  const pace = makeDial("pace", "Steps per second at most; empty: no limit", paces, refuses, paceScale);
  pace.row.querySelector("input[type=number]").placeholder = "no limit";
  const words = make("span", {}, "Disturb a cell");
  const help = "Click a cell of the picture, or move to it with the arrows and press Enter";
  const aim = make("button", { type: "button", class: "rn-b rn-disturb", "aria-pressed": "false", title: help }, icon("M7.300 1h1.400v3.700a3.400 3.400 0 0 1 2.600 2.600H15v1.400h-3.700a3.400 3.400 0 0 1-2.600 2.600V15H7.300v-3.700a3.400 3.400 0 0 1-2.600-2.600H1V7.300h3.700a3.400 3.400 0 0 1 2.600-2.600zM8 6a2 2 0 1 0 0 4 2 2 0 0 0 0-4z"), words);
  const amplitude = make("input", { type: "number", step: "any", "aria-label": "by how much" });
  const tools = make("div", { class: "rn-row" }, aim, make("label", {}, make("span", {}, "by"), amplitude), more);
  const hint = make("p", { class: "rn-soft rn-hint" }, "You look at the past; this acts on the live actor.");
  const root = make("section", { class: "rn-scene rn-dialbox", "aria-label": "Change the live actor" }, head, rows, pace.row, tools, hint);
  el.append(root);
  let dials = {};
  let open = false;
  const showRows = () => {
    const all = model.get("dials");
    const names = all.map(({ name }) => name);
    if (Object.keys(dials).join() !== names.join()) {
      dials = Object.fromEntries(names.map((name) => [name, makeDial(name, "", params, refuses)]));
      rows.replaceChildren(...Object.values(dials).map(({ row }) => row));
      keepShortcutsAway(rows);
    }
    all.forEach(({ name, value, low, high, there }, i) => {
      dials[name].show(value, [low, high], there);
      dials[name].row.hidden = i >= 2 && !open && all.length > 3;
    });
    more.hidden = all.length <= 3;
    setText(more, open ? "Fewer" : `${all.length - 2} more`);
    setAttribute(more, "aria-label", `${more.textContent} parameters`);
    setAttribute(more, "aria-expanded", String(open));
    pace.show(model.get("pace"), [0, 100], null);
    if (document.activeElement !== amplitude) amplitude.value = four(model.get("amplitude"));
    hint.hidden = !model.get("looks_back");
  };
  const showAim = () => {
    const on = Boolean(picture?.rnShared?.aim);
    aim.hidden = !picture;
    setText(words, on ? "Stop disturbing" : "Disturb a cell");
    showFlag(aim, { ...board.get("flags")["live.inject"], pressed: on }, help);
    for (const dial of [pace, ...Object.values(dials)]) dial.off(Boolean(why()));
  };
  const showLive = () => {
    const actor = board.get("actor");
    setText(live, actor.step === undefined ? "" : [`step ${actor.step.toLocaleString("en-US")}`, actor.time].filter(Boolean).join(", "));
  };
  const takePicture = async () => {
    const found = await part(model, "picture");
    if (found && found !== picture) {
      picture = found;
      subscriptions.on(picture, "rn:shared", showAim);
    }
    showAim();
  };
  more.addEventListener("click", () => { open = !open; showRows(); });
  aim.addEventListener("click", () => {
    if (aim.getAttribute("aria-disabled") === "true") { sayHere(board, `${words.textContent}: ${aim.title}`); return; }
    picture.rnAim?.();
  });
  onEntered(amplitude, () => {
    if (amplitude.value !== "" && Number.isFinite(Number(amplitude.value))) send(board, hand, "live.amplitude", { by: Number(amplitude.value) });
    else { sayHere(board, `Disturb by: write a number; it stays ${four(model.get("amplitude"))}`); amplitude.value = four(model.get("amplitude")); }
  });
  for (const name of ["dials", "pace", "amplitude", "looks_back"]) subscriptions.on(model, `change:${name}`, showRows);
  subscriptions.on(model, "change:picture", takePicture);
  subscriptions.on(board, "change:flags", showAim);
  subscriptions.on(board, "change:acknowledged", () => { for (const dial of [pace, ...Object.values(dials)]) dial.heard(); });
  subscriptions.on(board, "change:actor", showLive);
  showRows();
  showLive();
  await takePicture();
  keepShortcutsAway(root);
  return () => subscriptions.end();
}
VIEWS.dials = render;
