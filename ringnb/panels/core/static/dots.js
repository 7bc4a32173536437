// Many actors, a dot each. The dots are a picture (`dots.py`); those in trouble, the chosen one and the cursor
// are framed by a layer above. `choose(slot)` selects an actor, `onShown()` tells that other dots are wanted.
const MOST_CARDS = 24; // with more actors there are dots, as in `dots.py`
const MOST_APART = 40; // in a row
function makeDots(model, board, count, choose, onShown) {
  const say = (slot) => Number(slot).toLocaleString("en-US"), short = (value) => String(+value.toPrecision(3));
  const steps = (value) => (value === "1" ? "step" : "steps");
  const data = make("canvas", { "aria-hidden": "true" }), layer = make("canvas", { "aria-hidden": "true" });
  const field = make("div", { class: "rn-dots", role: "spinbutton", tabindex: "0", "aria-label": "Actor: arrows move, Enter chooses", "aria-valuemin": "0", "aria-valuemax": String(count - 1) }, data, layer);
  const shown = make("select", {}, ...Object.entries(model.get("choices")).map(([key, text]) => make("option", { value: key }, text)));
  const scale = make("p", { class: "rn-soft rn-dotscale" }), facts = make("dl"), at = make("p", { class: "rn-soft" });
  const next = make("button", { type: "button", class: "rn-b rn-small" }, icon("problem"), "Next with trouble");
  const list = make("div", { class: "rn-dotlist", role: "group", "aria-label": "Actors in trouble" });
  const node = make("div", { class: "rn-map" }, field, make("div", { class: "rn-dotside" }, make("label", {}, "Shown ", shown), scale, facts, next, list, at));
  let bytes = null, rows = 1, columns = 1, troubles = [], cursor = 0, drawing = 0;
  shown.addEventListener("change", () => onShown());

  const words = (slot) => {
    const here = `actor ${say(slot)}`;
    if (!bytes) return here;
    const dots = model.get("dots"), byte = bytes[(rows - 1 - Math.floor(slot / columns)) * columns + (slot % columns)];
    if (!byte) return `${here}: its newest checkpoint is not good`;
    if (byte < dots.least) return `${here}: ${dots.shown === "largest" ? "not read yet, or nothing stored" : "nothing stored"}`;
    const part = (byte - dots.least) / (255 - dots.least);
    if (dots.shown === "state") return `${here}: ${part > 0.5 ? "running" : "not running"}`;
    if (dots.shown === "largest") return `${here}: at most about ${short(dots.low + part * (dots.high - dots.low))} in size`;
    const value = say(Math.round((1 - part) * dots.high));
    return dots.shown === "age" ? `${here}: its newest checkpoint is about ${value} s old` : `${here}: about ${value} ${steps(value)} behind`;
  };
  const frame = (pen, slot, size, colour, ratio) => {
    const side = size / columns, middle = [(slot % columns + 0.5) * side, (Math.floor(slot / columns) + 0.5) * side];
    const half = Math.max(4, side / 2 + 1) * ratio;
    pen.lineWidth = 4 * ratio;
    pen.strokeStyle = getComputedStyle(field).backgroundColor;
    for (const [width, ink] of [[4, pen.strokeStyle], [2, colour]]) {
      pen.lineWidth = width * ratio;
      pen.strokeStyle = ink;
      pen.strokeRect(middle[0] - half, middle[1] - half, 2 * half, 2 * half);
    }
  };
  const drawFrames = () => {
    const ratio = window.devicePixelRatio || 1, width = Math.round(field.clientWidth * ratio);
    if (!width) return;
    layer.width = width;
    layer.height = Math.round((width / columns) * rows);
    const pen = layer.getContext("2d"), style = getComputedStyle(field);
    const bad = style.getPropertyValue("--bad"), brand = style.getPropertyValue("--brand"), ink = style.getPropertyValue("--fg");
    for (const slot of troubles) frame(pen, slot, width, bad, ratio);
    frame(pen, board.get("actor").slot ?? 0, width, brand, ratio);
    if (document.activeElement === field) frame(pen, cursor, width, ink, ratio);
  };
  const draw = async () => {
    const dots = model.get("dots"), turn = ++drawing;
    if (!dots.packed) return;
    const found = await unpack(dots.packed, dots.rows, dots.columns);
    if (turn !== drawing) return; // a newer one has come meanwhile
    bytes = found;
    ({ rows, columns, troubles } = dots);
    paint(data, bytes, rows, columns, mapFor(dots.kind, field));
    data.getContext("2d").clearRect(count - (rows - 1) * columns, rows - 1, columns, 1); // no actor is there
    field.style.aspectRatio = `${columns} / ${rows}`;
    // Few dots are large: what is alike would be one surface.
    layer.style.setProperty("--rn-dot", columns <= MOST_APART ? `${100 / columns}% ${100 / rows}%` : "0 0");
    drawFrames();
    move(cursor);
  };
  const show = () => {
    const dots = model.get("dots");
    if (!dots.counts) return;
    const rowsShown = [...Object.entries(dots.counts).map(([word, n]) => [word, say(n)]), ["not good", say(dots.bad)], ["checkpoints", dots.stored], ...Object.entries(dots.more)];
    const same = facts.querySelectorAll("dd");
    if (same.length === rowsShown.length && [...facts.querySelectorAll("dt")].every((term, i) => term.textContent === rowsShown[i][0])) rowsShown.forEach(([, text], i) => setText(same[i], text));
    else facts.replaceChildren(...rowsShown.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
    setText(scale, { state: "light: running · dark: not", age: `light: new · dark: ${say(Math.round(dots.high))} s old, or none`, largest: `light: ${short(dots.high)} · dark: ${short(dots.low)}, or not known` }[dots.shown] ?? `light: the fastest · dark: ${say(dots.high)} ${steps(say(dots.high))} behind`);
    setAttribute(next, "aria-disabled", dots.bad ? "false" : "true");
    const slots = dots.troubles.slice(0, 12);
    if (list.dataset.slots !== slots.join()) {
      const held = [...list.children].indexOf(document.activeElement);
      list.dataset.slots = slots.join();
      list.replaceChildren(...slots.map((slot) => {
        const button = make("button", { type: "button", class: "rn-b rn-small", "aria-label": `Actor ${say(slot)}, not good` }, say(slot));
        button.addEventListener("click", () => go(slot, button));
        return button;
      }));
      if (held >= 0) (list.children[Math.min(held, slots.length - 1)] ?? next).focus();
      keepShortcutsAway(list);
    }
  };
  const move = (slot) => {
    cursor = Math.max(0, Math.min(count - 1, slot));
    setAttribute(field, "aria-valuenow", String(cursor));
    setAttribute(field, "aria-valuetext", words(cursor));
    setText(at, words(cursor));
  };
  const go = (slot, button) => { move(slot); choose(cursor, button); drawFrames(); };
  next.addEventListener("click", () => {
    const list = model.get("dots").troubles, chosen = board.get("actor").slot ?? -1;
    if (!list) sayHere(board, "Next with trouble: the map has not come yet");
    else if (!list.length) sayHere(board, "Next with trouble: the newest checkpoint of every actor is good");
    else go(list.find((slot) => slot > chosen) ?? list[0], next);
  });
  const slotAt = (event) => {
    const box = field.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns), row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    return Math.max(0, Math.min(columns - 1, column)) + columns * Math.max(0, Math.min(rows - 1, row));
  };
  field.addEventListener("click", (event) => {
    const slot = slotAt(event);
    // A dot is small: what is framed is meant if it is near.
    const near = (other) => Math.max(Math.abs((other % columns) - (slot % columns)), Math.abs(Math.floor(other / columns) - Math.floor(slot / columns))) * (field.clientWidth / columns);
    const close = troubles.filter((other) => near(other) <= 5).sort((a, b) => near(a) - near(b));
    go(close[0] ?? slot, field);
  });
  field.addEventListener("pointermove", (event) => setText(at, words(Math.min(count - 1, slotAt(event)))));
  field.addEventListener("focus", drawFrames);
  field.addEventListener("blur", drawFrames);
  field.addEventListener("keydown", (event) => {
    const to = { ArrowRight: cursor + 1, ArrowLeft: cursor - 1, ArrowDown: cursor + columns, ArrowUp: cursor - columns, Home: 0, End: count - 1 }[event.key];
    if (event.key === "Enter" || event.key === " ") go(cursor, field);
    else if (to !== undefined) { move(to); drawFrames(); }
    else return;
    event.preventDefault();
  });
  return { node, field, show, draw, drawFrames, shown: () => shown.value, begin: () => move(board.get("actor").slot ?? 0) };
}
