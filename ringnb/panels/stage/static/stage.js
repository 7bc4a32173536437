// The stage: a picture, and beside it what it is compared with. Both come as bytes of data models, which hold no
// view; colours, axes, the reading of a cell, the aim and the swipe are the page's affair.
const SVG = "http://www.w3.org/2000/svg";
const MAPS = { fits: "as fits", viridis: "viridis", cividis: "cividis", magma: "magma", inferno: "inferno", gray: "gray", PuOr_r: "PuOr", berlin: "berlin" };
const HOWS = { difference: "Difference", that: "That one", swipe: "Swipe" };
const SYMBOLS = {
  stored: "M2.500 2.500h11v11h-11z",
  old: "M3 1h10v2L9.500 8l3.500 5v2H3v-2l3.500-5L3 3z",
  larger: "M9 1h6v6h-2V4.400L9.600 7.800 8.200 6.400 11.600 3H9zM7 15H1V9h2v2.600l3.400-3.400 1.400 1.400L4.400 13H7z",
  smaller: "M14.400 0L16 1.600 11.600 6H14v2H8V2h2v2.400zM1.600 16L0 14.400 4.400 10H2V8h6v6H6v-2.400z",
  compare: "M1 2h14v12H1zM2.500 3.500v9H8v-9z",
};
const count = (n) => Math.round(n).toLocaleString("en-US");
// A number in about four digits, without the noise of floating point.
function short(v) {
  if (v === 0) return "0";
  const size = Math.abs(v);
  return size >= 1e5 || size < 1e-3 ? v.toExponential(2).replace("e+", "e") : String(+v.toPrecision(4));
}
// Of a long name its end, which tells it from others.
const endOf = (text = "") => text.replace(/\S{31,}/g, (name) => `…${name.slice(-24)}`);
// Round values from low to high, about n of them.
function ticksOf(low, high, n) {
  const raw = (high - low) / n;
  const ten = 10 ** Math.floor(Math.log10(raw));
  const step = ten * [1, 2, 5, 10].find((m) => raw <= m * ten * 1.0001);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(+(i * step).toPrecision(12));
  return ticks;
}
// What all views of one data model share on this page; no message carries it.
function shared(model) {
  model.rnShared ??= { colours: "fits", aim: false, cell: null, larger: false, swipe: 0.5 };
  model.rnAim ??= () => share(model, { aim: !shared(model).aim });
  return model.rnShared;
}
function share(model, changes) {
  Object.assign(shared(model), changes);
  model.trigger("rn:shared");
}
// Whether the pixels are those that the words are about: of a flood of messages a front end drops some. A packed
// picture ends with its checksum.
function complete(model) {
  const { sums } = model.get("info");
  const parts = [model.get("pixels"), model.get("more")];
  return (sums ?? []).every((sum, i) => {
    const bytes = parts[i];
    return bytes?.byteLength > 4 && new DataView(bytes.buffer, bytes.byteOffset + bytes.byteLength - 4).getUint32(0) === sum;
  });
}
// Tell that a picture has come: the next one waits for that. While the playhead is dragged, its next place takes that along.
function tellItCame({ board, hand }, model) {
  const { n } = model.get("info");
  if (model.rnCame === n) return;
  model.rnCame = n;
  if (board.rnRest || board.rnDragged) board.rnCame = n;
  else tell(hand, "stage.came", { came: n });
}
// Have what is shown sent once more, if its pixels do not come.
function askAgain({ hand }, model, key) {
  const { sums } = model.get("info");
  setTimeout(() => {
    if (model.get("info").sums === sums && !complete(model)) tell(hand, "stage.again", { of: key });
  }, 1000);
}
// The pixels of a data model, unpacked once for all its views.
async function pixelsOf(model) {
  const packed = model.get("pixels"), more = model.get("more");
  if (model.rnPacked !== packed || model.rnMore !== more) { // of a pair one may stay as it was
    [model.rnPacked, model.rnMore] = [packed, more];
    const { rows, columns } = model.get("info");
    const parts = [packed, more].filter((part) => part?.byteLength).map((part) => unpack(part, rows, columns));
    model.rnPixels = Promise.all(parts).then((data) => ({ data, info: model.get("info") }));
  }
  return await model.rnPixels;
}
// The size of what is shown along x and y, in cells.
const cellsOf = (info) => (info.shape.length === 1 ? [info.shape[0], 1] : [info.shape[1], info.shape[0]]);
function option(value, words) { return make("option", { value }, words); }
// Fill a list, without closing one that is open.
function fill(select, options, value) {
  const text = JSON.stringify(options);
  if (select.rnFilled !== text) {
    select.rnFilled = text;
    select.replaceChildren(...options.map(([name, words]) => option(name, words)));
  }
  if (select.value !== value) select.value = value;
}
function labelled(words, control) { return make("label", {}, make("span", {}, words), control); }
function segments(label, words, choose) {
  const buttons = Object.entries(words).map(([key, text]) => {
    const button = make("button", { type: "button", "data-key": key, "aria-pressed": "false" }, text);
    button.addEventListener("click", () => choose(key, button));
    return button;
  });
  const group = make("div", { class: "rn-seg", role: "group", "aria-label": label }, ...buttons);
  group.show = (key) => buttons.forEach((button) => setAttribute(button, "aria-pressed", String(button.dataset.key === key)));
  return group;
}
// A canvas over a box, which shows all cells of a plane, the last row and column of pixels cut if they stand for less.
function fit(canvas, info) {
  const [nx, ny] = cellsOf(info);
  canvas.style.width = `${100 * info.columns * info.stride / nx}%`;
  canvas.style.height = `${100 * info.rows * info.stride / ny}%`;
}
// The shape of a box: as wide as its figure allows, or lower or narrower.
function shape(box, info) {
  const [nx, ny] = cellsOf(info);
  const ratio = info.shape.length === 1 ? 1.6 : Math.min(12, Math.max(1 / 12, nx / ny));
  box.style.setProperty("--rn-ratio", ratio);
  box.style.setProperty("--rn-part", Math.min(1, ratio));
}
function drawLine(svg, data, info) {
  svg.setAttribute("viewBox", `0 0 ${info.columns} 254`);
  const runs = [[]]; // a value that is not finite breaks the line
  data.forEach((byte, i) => { if (byte) runs.at(-1).push(`${i + 0.5},${255 - byte}`); else if (runs.at(-1).length) runs.push([]); });
  svg.replaceChildren(...runs.map((points) => {
    const line = document.createElementNS(SVG, "polyline");
    line.setAttribute("points", points.join(" "));
    return line;
  }));
}

async function renderPicture(context, place) {
  const { picture, board, hand, subscriptions, alone } = context;
  const tag = make("span", { class: "rn-tag" });
  const what = make("span", { class: "rn-what" });
  const field = make("select", { "aria-label": "Field" });
  const colours = make("select", { "aria-label": "Colours" }, ...Object.entries(MAPS).map(([name, words]) => option(name, words)));
  const range = make("input", { type: "checkbox" });
  const rangeLabel = make("label", { title: "The same range for every stored step of a run" }, range, make("span", {}, "one range"));
  const coloursLabel = labelled("Colours", colours);
  const tools = make("div", { class: "rn-tools" }, labelled("Field", field), coloursLabel, rangeLabel);
  place.bar.append(make("div", { class: "rn-prov" }, tag, what), tools);

  const canvas = make("canvas", { class: "rn-pixels", tabindex: "-1", role: "img", "aria-label": "Nothing stored yet" });
  const line = document.createElementNS(SVG, "svg");
  line.setAttribute("class", "rn-line1");
  line.setAttribute("preserveAspectRatio", "none");
  line.setAttribute("aria-hidden", "true");
  const own = make("img", { class: "rn-own", hidden: "", alt: "" }); // what a function of the user's has drawn
  const larger = make("button", { type: "button", class: "rn-b rn-max" });
  const note = make("div", { class: "rn-note", hidden: "" });
  const cross = make("i", { class: "rn-cross", hidden: "" });
  const snapshot = make("button", { type: "button", class: "rn-b rn-main" }, make("span", {}, "Snapshot now"));
  const first = make("span", {});
  const empty = make("div", { class: "rn-empty" }, make("b", {}, "Nothing stored yet"), first, snapshot);
  const box = make("div", { class: "rn-box" }, canvas, line, own, cross, note, empty, larger);
  const bar = make("canvas", { width: "1", height: "255" });
  const barTicks = make("div", { class: "rn-ticks" });
  const colourBar = make("div", { class: "rn-cbar", "aria-hidden": "true" }, bar, barTicks);
  const [yAxis, xAxis] = ["rn-ay", "rn-axx"].map((name) => make("div", { class: `rn-ax ${name}`, "aria-hidden": "true" }));
  const figure = make("figure", { class: "rn-pic" }, yAxis, box, colourBar, xAxis);
  place.pictures.prepend(figure);
  const read = make("div", { class: "rn-read" });
  const axis = make("select", { "aria-label": "Slice along" });
  const plane = make("input", { type: "range", min: "0", step: "1", "aria-label": "Slice" });
  const planeNumber = make("input", { type: "number", min: "0", step: "1", "aria-label": "Slice, number" });
  const slice = make("div", { class: "rn-slice", hidden: "" }, labelled("Slice", axis), plane, planeNumber);
  place.below.append(slice, read);

  let shown = null; // the bytes on the canvas and what is known of them
  let told = null; // the cell that is read below the picture
  let idle = ""; // what is said there else
  let aims = false; // whether a cell is aimed at
  let asker = null; // the button that began to disturb, for the focus to go back to
  const state = () => shared(picture);
  const showProvenance = () => {
    const { none } = board.get("next_checkpoint"), next = nextDue(board), due = next && `${next[0].toUpperCase()}${next.slice(1)}`;
    setText(first, (none && due) || "Pictures come from checkpoints.");
    const info = picture.get("info");
    const problem = info.problem ?? "";
    const old = Boolean(info.name) && (isOld(board) || Boolean(problem));
    const words = !info.name ? (problem ? "No picture" : "Nothing stored") : old ? "Old picture" : "Stored";
    if (tag.rnWords !== words) {
      tag.rnWords = words;
      tag.replaceChildren(icon(SYMBOLS[old ? "old" : "stored"]), make("span", {}, words));
    }
    tag.classList.toggle("rn-old", old);
    box.classList.toggle("rn-stale", old);
    // Below, while no cell is read there: a picture may stand still for long, however fast its actor steps.
    const actor = board.get("actor"), running = board.get("life") === "running";
    idle = info.follows && !old && running && actor.running && actor.kernel_id === info.actor ? due : "";
    if (!told && (info.own || shown?.info === info)) {
      read.removeAttribute("aria-live"); // what counts down is not spoken
      setText(read, idle);
    }
    what.replaceChildren();
    if (!info.name) { if (problem) what.append(problem); return; }
    let more = info.at;
    if (problem) more = problem;
    else if (info.follows && actor.kernel_id === info.actor) {
      const behind = actor.step - info.step;
      // A newer one may be there already, whose picture is yet to come.
      const { follows, name } = board.get("playhead"), newest = !follows || name === info.name;
      const ago = behind > 0 ? `${count(behind)} step${behind === 1 ? "" : "s"} ago` : "";
      more = newest && !running ? "the newest: nothing runs" : [newest && "newest", ago].filter(Boolean).join(", ");
    }
    const also = [more, info.time?.replaceAll(" ", "\u00a0")].filter(Boolean).map((text) => `\u00a0· ${text}`); // a row may end with the dot, none begins with it
    what.append(make("b", {}, endOf(info.name)), ...also);
    what.title = [info.name, ...also].join("");
  };
  const showNote = () => {
    const { aim, cell } = state();
    const info = shown?.info;
    note.classList.toggle("rn-bad", Boolean(!aim && info?.bad));
    if (aim) setText(note, `Click a cell: it is changed by ${short(picture.get("view").amplitude ?? 1)} in the live actor. Arrows and Enter do the same; Esc ends.`);
    else if (info?.bad) setText(note, `${count(info.bad)} of ${count(info.size)} values are not finite (striped)`);
    note.hidden = !aim && !info?.bad;
    box.classList.toggle("rn-aim", aim);
    cross.hidden = !(aim && cell && info);
    if (!cross.hidden) {
      const [nx, ny] = cellsOf(info);
      cross.style.left = `${100 * (cell[0] + 0.5) / nx}%`;
      cross.style.bottom = `${100 * (cell[1] + 0.5) / ny}%`;
    }
    setAttribute(canvas, "aria-label", (info?.words ?? "Nothing stored yet") + (aim ? ". Arrows move the cell, Enter disturbs it" : ""));
  };
  const spots = (node, ticks, at) => node.replaceChildren(...ticks.map(([value, words]) => { const spot = make("span", {}, words); at(spot, value); return spot; }));
  const showScales = () => {
    const { info } = shown;
    const [nx, ny] = cellsOf(info);
    const cell = info.cell || 1;
    const unit = info.cell ? "m" : "cells";
    const along = (n) => {
      const end = n * cell;
      const ticks = ticksOf(0, end, 4);
      if (end - ticks.at(-1) > Math.max(0.12, 80 / (box.clientWidth || 500)) * end) ticks.push(+end.toPrecision(4));
      return ticks.map((v) => [v / end, short(v)]);
    };
    const xs = along(nx);
    xs.at(-1)[1] += ` ${unit}`;
    spots(xAxis, xs, (spot, f) => { spot.style.left = `${100 * f}%`; spot.style.transform = `translateX(-${f < 0.02 ? 0 : f > 0.9 ? 100 : 50}%)`; });
    const values = info.kind === "two" ? [info.low, info.high] : ticksOf(info.low, info.high, 5);
    const place = (spot, f) => { spot.style.bottom = `${Math.max(1.5, Math.min(98.5, 100 * f))}%`; };
    const span = info.high - info.low;
    const marks = values.map((v) => [info.kind === "two" ? (v === info.low ? 0.25 : 0.75) : (v - info.low) / span, short(v)]);
    const flat = info.shape.length === 1;
    colourBar.hidden = flat;
    if (flat) spots(yAxis, marks, place); else { spots(barTicks, marks, place); spots(yAxis, along(ny), place); }
    colourBar.title = info.quantity;
  };
  const repaint = () => {
    if (!shown) return;
    const { data: [data], info } = shown;
    const map = mapFor(info.kind, box, state().colours);
    box.dataset.map = map;
    if (info.shape.length === 1) drawLine(line, data, info);
    else { paint(canvas, data, info.rows, info.columns, map); paintBar(bar, map); }
  };
  const ends = () => {
    if (own.src) URL.revokeObjectURL(own.src);
    own.removeAttribute("src");
    own.hidden = true;
  };
  subscriptions.atEnd(ends);
  // A drawing of the user's is an image as it is: it has no cells, no colours of ours, no scales.
  const showOwn = (info) => {
    const png = picture.get("pixels");
    if (own.rnPixels !== png || own.hidden) {
      ends();
      own.rnPixels = png;
      own.src = URL.createObjectURL(new Blob([new Uint8Array(png.buffer, png.byteOffset, png.byteLength - 4)], { type: "image/png" }));
    }
    shown = null;
    own.hidden = false;
    for (const label of [coloursLabel, rangeLabel]) hide(label, true, field);
    own.alt = info.words;
    setText(read, idle);
    canvas.hidden = colourBar.hidden = true;
    line.style.display = "none";
    for (const scale of [xAxis, yAxis]) scale.replaceChildren();
    box.style.setProperty("--rn-ratio", info.ratio);
    box.style.setProperty("--rn-part", Math.min(1, info.ratio));
    place.root.classList.remove("rn-wide");
    larger.hidden = false;
    showShared();
    showNote();
    box.dataset.name = board.rnShown = info.name;
    board.trigger("rn:shown");
  };
  const showPicture = async () => {
    const info = picture.get("info");
    showProvenance();
    line.style.display = "";
    canvas.tabIndex = info.name ? 0 : -1;
    hide(empty, Boolean(info.name), canvas);
    if (!info.name) {
      ends();
      shown = null;
      canvas.hidden = false;
      colourBar.hidden = larger.hidden = true;
      return;
    }
    if (!complete(picture)) { askAgain(context, picture, "field"); return; }
    tellItCame(context, picture);
    if (info.own) { showOwn(info); return; }
    ends();
    for (const label of [coloursLabel, rangeLabel]) label.hidden = false;
    canvas.hidden = false;
    const asked = picture.get("pixels");
    if (shown?.info === info && shown.packed === asked) return; // it is there
    let found;
    try { found = await pixelsOf(picture); } catch (error) { setText(read, `This picture cannot be shown: ${error.message}`); return; }
    if (asked !== picture.get("pixels")) return; // a newer one is on its way
    shown = { ...found, info, packed: asked };
    if (told) {
      const [nx, ny] = cellsOf(info);
      read.removeAttribute("aria-live"); // a picture that comes is not spoken
      if (told[0] < nx && told[1] < ny) tell(told);
      else { told = null; setText(read, idle); }
    }
    canvas.classList.toggle("rn-flat", info.shape.length === 1);
    line.style.display = info.shape.length === 1 ? "" : "none";
    shape(box, info);
    fit(canvas, info);
    const [nx, ny] = cellsOf(info);
    place.root.classList.toggle("rn-wide", info.shape.length > 1 && nx > 1.6 * ny);
    place.root.style.setProperty("--rn-high", Math.min(1, ny / nx));
    repaint();
    showScales();
    showNote();
    larger.hidden = info.shape.length === 1;
    box.dataset.name = info.name;
    board.rnShown = info.name; // whoever moves the playhead may wait for its picture
    board.trigger("rn:shown");
  };
  const showView = () => {
    const view = picture.get("view");
    fill(field, (view.fields ?? []).map((name) => [name, name]), view.field ?? "");
    range.checked = Boolean(view.one_range);
    const planes = view.planes ?? 0;
    slice.hidden = !planes;
    if (planes) {
      fill(axis, view.axes.map((name, i) => [String(i), name]), String(view.axis));
      plane.max = planeNumber.max = String(planes - 1);
      for (const input of [plane, planeNumber]) if (document.activeElement !== input && input.value !== String(view.index)) input.value = String(view.index);
    }
    if (view.colours && view.colours !== picture.rnColours) { picture.rnColours = view.colours; share(picture, { colours: view.colours }); }
    showNote();
  };
  const showShared = () => {
    if (state().aim && picture.get("info").own) {
      share(picture, { aim: false });
      sayHere(board, "Disturb a cell: your own drawing has no cells; choose a field");
      return;
    }
    const { colours: wanted, larger: large, aim } = state(), focused = document.activeElement;
    if (aim && !asker && focused?.classList.contains("rn-disturb") && place.root.closest(".rn-cockpit")?.contains(focused)) {
      asker = focused; // the arrows act on the picture
      canvas.focus({ preventScroll: true });
    } else if (!aim && asker) {
      if (focused === canvas) asker.focus();
      asker = null;
    }
    if (aims && !aim) { // no cell is read any more
      told = null;
      read.removeAttribute("aria-live");
      setText(read, idle);
    }
    aims = aim;
    setAttribute(canvas, "role", aim ? "application" : "img"); // else a screen reader keeps the arrows to itself
    if (colours.value !== wanted) colours.value = wanted;
    board.rnColours = wanted; // for a movie
    const words = large ? "Smaller picture" : "Larger picture";
    if (larger.title !== words) { larger.title = words; larger.setAttribute("aria-label", words); larger.replaceChildren(icon(SYMBOLS[large ? "smaller" : "larger"])); }
    place.root.classList.toggle("rn-large", large);
    place.root.closest(".rn-cockpit")?.classList.toggle("rn-large", large);
    repaint();
    showNote();
  };
  // -- a cell under the pointer, and what is done to it
  const cellAt = (event) => {
    const { left, top, width, height } = box.getBoundingClientRect();
    const [nx, ny] = cellsOf(shown.info);
    const inside = (f, n) => Math.max(0, Math.min(n - 1, Math.floor(f * n)));
    return [inside((event.clientX - left) / width, nx), ny - 1 - inside((event.clientY - top) / height, ny)];
  };
  const aimed = () => state().cell ?? cellsOf(shown.info).map((n) => n >> 1); // by the keyboard
  const valueAt = ([x, y]) => {
    const { data: [data], info } = shown;
    const byte = data[Math.floor(y / info.stride) * info.columns + Math.floor(x / info.stride)];
    return byte ? `about ${short(info.low + (byte - 1) * (info.high - info.low) / 254)}` : "not finite";
  };
  const wordsOf = ([x, y]) => {
    const { info } = shown;
    const names = info.dims.length === 1 ? [[info.dims[0], x]] : [[info.dims[0], y], [info.dims[1], x]];
    return names.map(([name, i]) => `${name} ${i}`).join(", ");
  };
  const tell = (cell) => { told = cell; setText(read, `${wordsOf(cell)}: ${valueAt(cell)}`); };
  const disturb = (cell) => {
    const { info } = shown;
    const at = info.dims.length === 1 ? [cell[0]] : [cell[1], cell[0]];
    if (info.place !== null) at.splice(info.place, 0, info.index);
    const flag = board.get("flags")["live.inject"];
    if (flag?.disabled) sayHere(board, `Disturb a cell: ${flag.why}`);
    else send(board, hand, "live.inject", { slot: board.get("actor").slot, cell: at }, box);
  };
  box.addEventListener("pointermove", (event) => {
    read.removeAttribute("aria-live"); // what a mouse passes over is not spoken
    if (shown) tell(cellAt(event));
  });
  box.addEventListener("pointerleave", () => { told = null; setText(read, idle); });
  // A click's own place is in whole pixels, which may be the next cell: that of the release is exact. A click that
  // is of no pointer has none, and means the cell that Enter would take. What was released last counts only where the
  // click is, too.
  let released = null;
  box.addEventListener("pointerup", (event) => { released = event; });
  box.addEventListener("click", (event) => {
    if (!shown || !state().aim) return;
    const exact = released && Math.hypot(released.clientX - event.clientX, released.clientY - event.clientY) < 1.5;
    const pointed = exact || event.clientX || event.clientY;
    share(picture, { cell: pointed ? cellAt(exact ? released : event) : aimed() });
    released = null;
    disturb(state().cell);
  });
  canvas.addEventListener("keydown", (event) => {
    if (!shown || !state().aim) return;
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const [nx, ny] = cellsOf(shown.info);
    const cell = aimed();
    if (by) {
      const far = event.shiftKey ? 10 : 1;
      const clamp = (v, n) => Math.max(0, Math.min(n - 1, v));
      share(picture, { cell: [clamp(cell[0] + far * by[0], nx), clamp(cell[1] + far * by[1], ny)] });
      setAttribute(read, "aria-live", "polite");
      tell(state().cell);
    } else if (event.key === "Enter") {
      share(picture, { cell });
      disturb(cell);
    } else if (event.key === "Escape") share(picture, { aim: false });
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  // -- controls
  field.addEventListener("change", () => send(board, hand, "stage.field", { name: field.value }, field));
  colours.addEventListener("change", () => share(picture, { colours: colours.value }));
  range.addEventListener("change", () => send(board, hand, "stage.range", { on: range.checked }, rangeLabel));
  larger.addEventListener("click", (event) => {
    event.stopPropagation(); // it lies in the picture, where a click may disturb
    share(picture, { larger: !state().larger });
    send(board, hand, "stage.larger", { on: state().larger }, larger);
  });
  snapshot.addEventListener("click", () => {
    if (snapshot.getAttribute("aria-disabled") === "true") sayHere(board, `Snapshot now: ${snapshot.title}`);
    else send(board, hand, "live.snapshot", {}, snapshot);
  });
  const showSnapshot = () => showFlag(snapshot, board.get("flags")["live.snapshot"], "Checkpoint the live state");
  const toPlane = (input) => {
    const index = Math.max(0, Math.min(Number(plane.max), Math.round(Number(input.value) || 0)));
    plane.value = planeNumber.value = String(index);
    send(board, hand, "stage.slice", { axis: Number(axis.value), index }, slice);
  };
  plane.addEventListener("input", () => { planeNumber.value = plane.value; });
  plane.addEventListener("change", () => toPlane(plane));
  onEntered(planeNumber, () => toPlane(planeNumber));
  axis.addEventListener("change", () => send(board, hand, "stage.slice", { axis: Number(axis.value) }, slice));
  for (const name of ["change:info", "change:pixels"]) subscriptions.on(picture, name, showPicture);
  subscriptions.on(picture, "change:view", showView);
  subscriptions.on(picture, "rn:shared", showShared);
  subscriptions.on(board, "change:flags", () => { // a kernel that has ended takes no click
    if (state().aim && board.get("flags")["live.inject"]?.disabled) share(picture, { aim: false });
    showSnapshot();
  });
  subscriptions.on(board, "rn:escape", (event) => {
    if (event.heeded || !event.root.contains(place.root)) return; // by another view of this picture; of another panel
    if (state().aim) { event.heeded = true; share(picture, { aim: false }); }
    else if (state().larger && larger.checkVisibility()) { event.heeded = true; larger.click(); }
  });
  for (const name of ["beat", "actor", "life", "next_checkpoint", "due_at", "playhead"]) subscriptions.on(board, `change:${name}`, showProvenance);
  subscriptions.every(1000, showProvenance);
  onThemeChange(subscriptions, repaint);
  showView();
  showShared();
  showSnapshot();
  await showPicture();
}

async function renderCompare(context, place) {
  const { compare, picture, board, hand, subscriptions } = context;
  const against = make("select", { "aria-label": "Against: compare with" });
  const hold = make("button", { type: "button", class: "rn-b rn-small", title: "Hold this moment: compare with it wherever the playhead goes" }, make("span", {}, "Hold"));
  const how = segments("How to compare", HOWS, (key, button) => send(board, hand, "stage.how", { how: key }, button));
  const one = make("canvas", { class: "rn-pixels", role: "img", tabindex: "-1" });
  const two = make("canvas", { class: "rn-pixels", "aria-hidden": "true" });
  const edge = make("i", { class: "rn-edge" });
  const empty = make("div", { class: "rn-empty" }, make("span", {}, "Needs an earlier checkpoint"));
  const box = make("div", { class: "rn-box" }, one, two, edge, empty);
  const swipe = make("input", { type: "range", min: "0", max: "100", step: "1", "aria-label": "Swipe: how much of the other picture is shown", class: "rn-swiper" });
  const verdict = make("b", {});
  const bad = make("b", {});
  const names = make("span", { class: "rn-one rn-soft" });
  const params = make("span", {});
  const row = make("div", { class: "rn-row" }, make("h3", {}, "Against"), against, hold);
  edge.hidden = true; // until a swipe is shown
  const beside = make("div", { class: "rn-beside" }, row, how, box, swipe, make("div", { class: "rn-verdict" }, make("div", {}, verdict), names, make("span", { class: "rn-one rn-soft" }, bad, params)));
  place.pictures.append(beside);

  let shown = null;
  const colourModel = picture ?? compare;
  const showSwipe = () => {
    const f = shared(compare).swipe;
    two.style.clipPath = `inset(0 0 0 ${100 * f}%)`;
    edge.style.left = `${100 * f}%`;
    swipe.value = String(Math.round(100 * f));
  };
  const repaint = () => {
    if (!shown) return;
    const { data, info } = shown;
    // A difference keeps the map that fits it: its zero must look like nothing.
    const map = mapFor(info.kind, box, info.how === "difference" ? "fits" : shared(colourModel).colours);
    box.dataset.map = map;
    paint(one, data[0], info.rows, info.columns, map);
    if (data[1]) paint(two, data[1], info.rows, info.columns, map);
  };
  const show = async () => {
    const info = compare.get("info");
    const there = Boolean(info.name) && !info.problem;
    empty.hidden = there;
    setText(empty.firstChild, info.problem || "Needs an earlier checkpoint");
    for (const [node, text] of [[verdict, info.verdict], [bad, info.bad ? `${count(info.bad)} not finite${info.params ? " · " : ""}` : ""], [names, info.names], [params, info.params]]) { setText(node, there ? endOf(text) : ""); node.title = there ? text : ""; }
    if (!there) { shown = null; beside.classList.remove("rn-swiping"); for (const node of [two, edge, one]) node.hidden = true; return; }
    if (!complete(compare)) { askAgain(context, compare, "compare"); return; }
    tellItCame(context, compare);
    const asked = [compare.get("pixels"), compare.get("more")];
    let found;
    try { found = await pixelsOf(compare); } catch (error) { setText(verdict, `This cannot be shown: ${error.message}`); return; }
    if (asked[0] !== compare.get("pixels") || asked[1] !== compare.get("more")) return;
    shown = { ...found, info };
    const swiping = info.how === "swipe" && found.data.length > 1;
    one.hidden = false;
    for (const node of [two, edge]) node.hidden = !swiping;
    beside.classList.toggle("rn-swiping", swiping);
    shape(box, info);
    for (const node of [one, two]) fit(node, info);
    setAttribute(one, "aria-label", info.words);
    repaint();
    showSwipe();
    box.dataset.name = info.name;
  };
  const showView = () => {
    const view = compare.get("view");
    fill(against, view.options ?? [], view.against ?? "before");
    against.title = against.selectedOptions[0]?.text ?? ""; // which may be cut
    how.show(view.how);
  };
  against.addEventListener("change", () => send(board, hand, "stage.against", { what: against.value }, against));
  hold.addEventListener("click", () => {
    if (compare.get("info").name || picture?.get("info").name) send(board, hand, "stage.hold", {}, hold);
    else sayHere(board, "Hold: Nothing is stored");
  });
  swipe.addEventListener("input", () => share(compare, { swipe: Number(swipe.value) / 100 }));
  const drag = (event) => {
    if (!(event.buttons & 1) || edge.hidden) return;
    const { left, width } = box.getBoundingClientRect();
    share(compare, { swipe: Math.max(0, Math.min(1, (event.clientX - left) / width)) });
  };
  box.addEventListener("pointerdown", drag);
  box.addEventListener("pointermove", drag);
  for (const name of ["change:info", "change:pixels", "change:more"]) subscriptions.on(compare, name, show);
  subscriptions.on(compare, "change:view", showView);
  subscriptions.on(compare, "rn:shared", showSwipe);
  if (picture) subscriptions.on(picture, "rn:shared", repaint);
  onThemeChange(subscriptions, repaint);
  showView();
  await show();
  return beside;
}

async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const [picture, compare, board, hand] = await Promise.all(["picture", "compare", "board", "hand"].map((name) => part(model, name)));
  const bar = make("div", { class: "rn-bar" });
  const pictures = make("div", { class: "rn-pics" });
  const below = make("div", { class: "rn-below" });
  const root = make("div", { class: "rn-scene" }, bar, pictures, below);
  el.classList.add("rn-scene-holder");
  el.append(root);
  const place = { root, bar, pictures, below };
  const context = { picture, compare, board, hand, subscriptions };
  if (picture) await renderPicture(context, place);
  if (compare) {
    const beside = await renderCompare(context, place);
    if (picture) {
      const button = make("button", { type: "button", class: "rn-b rn-small rn-narrow", "aria-pressed": "false" }, icon(SYMBOLS.compare), make("span", {}, "Compare"));
      button.addEventListener("click", () => {
        const open = beside.classList.toggle("rn-open");
        button.setAttribute("aria-pressed", String(open));
        if (!open) return;
        beside.scrollIntoView({ block: "nearest" }); // it is below the picture
        beside.querySelector("select").focus({ preventScroll: true }); // the button may be out of sight
      });
      bar.querySelector(".rn-tools").append(button);
    } else {
      beside.classList.add("rn-open");
      bar.remove();
      below.remove();
    }
  }
  keepShortcutsAway(root);
  return () => subscriptions.end();
}
VIEWS.stage = render;
