// Draws the line into an SVG, its small pictures into a canvas below it, and takes pointer and keys.
const SVG = "http://www.w3.org/2000/svg";
const FILM = 38; // pixels of a small picture
const LANE = 23, LANE_NARROW = 26, RULER = 20, TRACE = 29;
const NARROW = 600;
const DRAG = 4; // pixels from where it was pressed on, a pointer drags
const REST_MS = 150; // after which a playhead, or a pointer, is said to rest
function shape(tag, attributes = {}, text = null) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}
const colourOf = (number) => `var(--rn-lane${((number - 1) % 6) + 1})`;
// Shapes around 0, 0; the key below the line shows the same ones.
const PIN = "M-3.6 -12h7.2l-1.6 3.2 1 2.3h-2.4l-.6 2.2-.6-2.2h-2.4l1-2.3z";
const square = (half, attributes) => shape("rect", { x: -half, y: -half, width: 2 * half, height: 2 * half, rx: 1.2, ...attributes });
function checkpointShape(flags, colour, large) {
  const group = shape("g");
  const half = 4.6 + (large ? 2 : 0);
  if (flags & DAMAGED) group.append(square(half, { class: "rn-damaged" }), shape("path", { class: "rn-damaged-sign", d: "M0 -3v3.6M0 2v1.4" }));
  else if (flags & GOING) group.append(square(half + 0.9, { class: "rn-going", stroke: colour }), shape("path", { class: "rn-gone", d: "M-3.4 -3.4l6.8 6.8M3.4 -3.4l-6.8 6.8" }));
  else group.append(square(half, { class: "rn-square", fill: colour }));
  if (flags & PINNED) group.append(shape("path", { class: "rn-pin", d: PIN, transform: `translate(0 ${large ? -2 : 0})` }));
  return group;
}
const disturbedShape = () => shape("path", { class: "rn-input", d: "M-5 -11h10l-5 8.5z" });
const adjustedShape = () => shape("path", { class: "rn-adjusted", d: "M0 -6.5l6 6.5-6 6.5-6-6.5z" });
function notGoodShape() {
  const group = shape("g");
  group.append(shape("path", { class: "rn-octagon", d: "M-2.8 -7h5.6L7 -2.8v5.6L2.8 7h-5.6L-7 2.8v-5.6z" }), shape("path", { class: "rn-octagon-sign", d: "M-.8 -4.2h1.6v5h-1.6zM-.8 2.3h1.6v1.8h-1.6z" }));
  return group;
}
const branchShape = () => shape("path", { class: "rn-lane", stroke: colourOf(2), d: "M-4.5 4.5C1.5 4.5 -1.5 -4.5 4.5 -4.5" });
const KEY = [
  ["checkpoint", () => checkpointShape(0, colourOf(1))], ["pinned", () => shape("path", { class: "rn-pin", d: PIN, transform: "translate(0 6.5)" })],
  ["would go", () => checkpointShape(GOING, colourOf(1))], ["damaged", () => checkpointShape(DAMAGED)],
  ["disturbed", () => { const node = disturbedShape(); node.setAttribute("transform", "translate(0 6.5)"); return node; }], ["parameter", adjustedShape],
  ["restored or branched", branchShape], ["first that is not good", notGoodShape],
];

function makeDrawing(root, board, act, subscriptions) {
  const canvas = make("canvas", { class: "rn-film", "aria-hidden": "true" });
  const svg = shape("svg", { class: "rn-line", tabindex: "0", role: "slider", "aria-label": "Playhead", "aria-orientation": "horizontal", "aria-valuemin": "0" });
  const drawn = (name) => shape("g", { class: name, "aria-hidden": "true" }); // the slider's value says it in words
  const still = drawn(""), edge = drawn("rn-through"), head = drawn("rn-through"), hover = shape("line", { class: "rn-hover rn-through", "aria-hidden": "true" });
  svg.append(still, edge, hover, head);
  const tip = make("div", { class: "rn-tip" });
  tip.hidden = true;
  const zoomIn = make("button", { type: "button", class: "rn-b", "aria-label": "Zoom in at the playhead", title: "Zoom in at the playhead (+)" }, "+");
  const zoomOut = make("button", { type: "button", class: "rn-b", "aria-label": "Zoom out", title: "Zoom out (−)" }, "−");
  zoomIn.addEventListener("click", () => act.zoomBy(2));
  zoomOut.addEventListener("click", () => { if (act.state.zoom > 1 || act.state.origin) act.zoomBy(0.5); else sayHere(board, "Zoom out: all of it is shown"); });
  const zoom = make("div", { class: "rn-zoom", role: "toolbar", "aria-label": "Zoom of the line" }, zoomIn, zoomOut);
  const naming = make("input", { type: "text", class: "rn-naming", maxlength: "40", hidden: "" });
  const time = make("div", { class: "rn-time" }, canvas, svg, zoom, tip, naming);
  const items = KEY.map(([text, draw]) => {
    const sign = shape("svg", { viewBox: "-7 -7 14 14", "aria-hidden": "true" });
    sign.append(draw());
    return make("span", {}, sign, text);
  });
  const hint = make("span", { class: "rn-hint" }, "between squares the one before is shown");
  const legend = make("div", { class: "rn-key" }, ...items, hint);
  const toggle = make("button", { type: "button", class: "rn-b rn-key-toggle", "aria-expanded": "false" }, "Key");
  toggle.addEventListener("click", () => { setAttribute(toggle, "aria-expanded", String(legend.classList.toggle("rn-open"))); });
  const foot = make("div", { class: "rn-foot" }, toggle);
  root.append(time, legend, foot);

  const clipId = `rn-clip-${Math.random().toString(36).slice(2)}`; // one page may hold several lines
  const scaleOfText = textScale(time, subscriptions, () => act.later());
  let K = 1; // of texts, and of what has room for them
  let G = null; // what was drawn last: scale, rows, width
  let want = { pictures: [], values: [] };
  const rowOf = (number) => G.rows.get(number);
  const pen = make("canvas").getContext("2d");
  // How wide the name of a run is where it is chosen: before it is drawn, nothing else knows.
  const widthOf = (text) => pen.measureText(text).width;

  const draw = ({ state, marks, film, way, near, live, shown, folded }) => {
    K = scaleOfText();
    pen.font = `650 ${11.5 * K}px ${getComputedStyle(svg).fontFamily}`;
    const width = Math.max(240, Math.floor(time.clientWidth - 24)), narrow = width < NARROW * K;
    // Beside a name there is room for a ring around the first mark, and beside the live edge for "live".
    const left = (narrow ? 76 : 92) * K, right = (narrow ? 38 : 42) * K;
    const laneHeight = (narrow ? LANE_NARROW : LANE) * K, ruler = RULER * K, trace = TRACE * K;
    const filmTop = ruler + 3, lanesTop = filmTop + (narrow ? 4 : FILM + 7);
    const count = Math.max(3, shown.length + (folded.length ? 1 : 0));
    const traceTop = lanesTop + count * laneHeight + 4, height = traceTop + (narrow ? 3 : trace + 3);
    const scale = makeScale(state.low, state.low + state.reach / state.zoom, left, width - right);
    const rows = new Map(shown.map((lane, i) => [lane.n, lanesTop + i * laneHeight + laneHeight / 2 + 3]));
    const foldedRow = lanesTop + shown.length * laneHeight + laneHeight / 2 + 3;
    for (const lane of folded) rows.set(lane.n, foldedRow);
    G = { places: new Map(), left, scale, rows, width, height, narrow, laneHeight, ruler, trace, lanesTop, shown, foldedRow, folded };
    for (const [name, value] of [["width", width], ["height", height], ["viewBox", `0 0 ${width} ${height}`]]) setAttribute(svg, name, String(value));
    setAttribute(zoomOut, "aria-disabled", String(state.zoom <= 1 && !state.origin));
    const home = narrow ? foot : time;
    if (zoom.parentElement !== home) home.prepend(zoom);
    G.free = narrow ? 0 : zoom.getBoundingClientRect().right - svg.getBoundingClientRect().left + 3; // the playhead's step covers no button
    root.classList.toggle("rn-narrow", narrow);
    const found = [];
    const tick = tickOf(scale, 90 * K);
    found.push(shape("text", { x: 4, y: 13 * K }, "step"));
    for (let at = Math.ceil(scale.low / tick) * tick; at <= scale.high; at += tick) {
      found.push(shape("line", { class: "rn-grid", x1: scale.x(at), x2: scale.x(at), y1: ruler, y2: height - 2 }), shape("text", { class: "rn-tick", x: scale.x(at), y: 13 * K, "text-anchor": "middle" }, words(at)));
    }
    const clip = shape("clipPath", { id: clipId });
    clip.append(shape("rect", { x: left - 9, y: 0, width: width - left + 9, height }));
    const inside = shape("g", { "clip-path": `url(#${clipId})` });
    const onWay = new Set(way.map((one) => one.lane.n));
    for (const lane of shown) drawLane(found, inside, state, lane, rows, onWay, narrow);
    if (folded.length) {
      const counted = folded.length === 1 ? "1 more run" : `${folded.length} more runs`;
      found.push(shape("text", { class: "rn-label", x: 6, y: foldedRow + 4 * K }, narrow ? `${folded.length} more` : counted));
    }
    const top = shape("g", { "clip-path": `url(#${clipId})` });
    for (const lane of shown) drawMarks(inside, top, near, marks.ofLane(lane.n), lane, tick);
    const empty = !nearestOf(marks, way, state.step);
    // Below the lanes: the line of the live edge, which moves, comes down to them from above.
    if (empty) found.push(shape("text", { class: "rn-label rn-words", x: left + 8, y: foldedRow + 4 * K }, narrow ? "Nothing stored yet" : "Checkpoints will stand on the line as squares. Drag along it to look at one."));
    const columns = narrow ? [] : columnsOf(marks, way, scale, 6);
    const pictures = narrow ? [] : spaced(marks, way, scale, FILM + 3).slice(0, 60);
    // One of each column is read for the trace, and the newest, so that what comes while somebody looks has its peak there.
    const newest = narrow ? null : nearestOf(marks, way, Infinity);
    want = { pictures: pictures.map((mark) => mark.key), values: [...new Set([...columns.map(([first]) => first), ...(newest ? [newest] : [])])].map((mark) => mark.key) };
    if (!narrow && !empty) drawTrace(found, inside, traceOf(columns, film.get), traceTop, state, width);
    drawFilm(found, film, pictures, filmTop, state);
    still.replaceChildren(clip, ...found, inside, top);
    hover.setAttribute("x1", -9);
    hover.setAttribute("x2", -9);
    hover.setAttribute("y1", ruler);
    hover.setAttribute("y2", height - 2);
    if (live) drawEdge(live);
    else edge.replaceChildren();
  };

  const drawLane = (found, inside, state, lane, rows, onWay, narrow) => {
    const y = rows.get(lane.n), colour = colourOf(lane.n), { scale, width, laneHeight } = G;
    found.push(shape("rect", { class: lane.n === state.leaf ? "rn-row rn-chosen" : "rn-row", x: 0, y: y - laneHeight / 2, width, height: laneHeight, rx: 4 }));
    const label = shape("text", { class: lane.n === state.leaf ? "rn-label rn-chosen" : "rn-label", x: 6, y: y + 4 * K, "data-run": lane.n });
    const room = G.left - 12 - 20 * K; // as far as lanes begin
    let name = runName(lane);
    for (let n = name.length; n > 1 && widthOf(name) > room; n--) name = `${runName(lane).slice(0, n - 1).trimEnd()}…`;
    label.append(shape("tspan", { fill: colour }, "● "), shape("tspan", {}, name));
    label.append(shape("title", {}, [`run ${lane.n}`, lane.name, lane.words].filter(Boolean).join(": ") + ". A double click, or F2, names it, until the notebook's kernel restarts"));
    found.push(label);
    // A live one is drawn to its newest checkpoint: what follows moves with the live edge.
    const end = scale.x(lane.live ? lane.base ?? lane.last : lane.last), from = lane.fork !== null && rows.has(lane.parent) ? scale.x(lane.fork) : scale.x(lane.first);
    if (lane.fork !== null && rows.has(lane.parent)) {
      const above = rows.get(lane.parent);
      const bend = Math.max(from + 6, Math.min(from + 16, end));
      inside.append(shape("path", { class: "rn-lane", stroke: colour, d: `M${from} ${above}C${from + 4} ${above} ${from + 3} ${y} ${bend} ${y}H${Math.max(bend, end)}` }));
    } else inside.append(shape("path", { class: "rn-lane", stroke: colour, d: `M${from} ${y}H${end}` }));
    if (!lane.live) inside.append(shape("path", { d: `M${end} ${y - 6}V${y + 6}`, stroke: colour, "stroke-width": 2.4 }));
    // Beside the name if the lane begins far enough to the right, else it waits for the pointer.
    const beside = 28 * K + Math.max(38 * K, widthOf(name));
    if (!narrow && lane.words && from - beside - 4 > 6 * K * lane.words.length) found.push(shape("text", { class: "rn-words", x: beside, y: y + 4 * K }, lane.words));
  };

  const drawMarks = (inside, top, near, own, lane, tick) => {
    const { scale } = G, y = rowOf(lane.n), colour = colourOf(lane.n);
    const { single, bars } = binsOf(own, scale, tick);
    for (const { from, to, count } of bars) {
      inside.append(shape("rect", { class: "rn-square rn-bar", fill: colour, x: from - 4, y: y - 5 * K, width: to - from + 8, height: 10 * K, rx: 1.5 }));
      const text = words(count);
      if (to - from + 8 > 6.4 * K * text.length + 2) inside.append(shape("text", { class: "rn-count", x: (from + to) / 2, y: y + 3.8 * K, "text-anchor": "middle" }, text));
    }
    for (const { mark, x, onBar } of single) {
      G.places.set(mark.key, x); // beside its step, if there are several
      const group = checkpointShape(mark.flags, colour, !onBar && mark === near);
      group.setAttribute("transform", `translate(${x} ${y})`);
      group.dataset.mark = mark.key;
      inside.append(group);
    }
    let before = -99;
    const end = lowerBound(own, scale.high);
    for (let i = lowerBound(own, scale.low); i < end; i++) {
      const mark = own[i];
      if (mark.kind === CHECKPOINT) continue;
      const below = mark.kind === NOT_GOOD; // and beside its step, where the playhead rests first of all
      const x = below ? scale.x(mark.step) - 9 : Math.max(scale.x(mark.step), before + APART);
      if (x - scale.x(mark.step) > 60) continue; // there are too many to be told apart: zoom in
      if (!below) before = x;
      const node = { [DISTURBED]: disturbedShape, [ADJUSTED]: adjustedShape, [NOT_GOOD]: notGoodShape }[mark.kind]();
      // Where a run leaves another, its parameter stands behind the curve.
      const shift = mark.kind === ADJUSTED && mark.step === lane.fork ? 17 : 0;
      // And below the lane: of a paused actor it stands at the step of a checkpoint, which it would cover.
      const spot = mark.kind === ADJUSTED ? `translate(${x + shift} ${y + 7}) scale(.8)` : below ? `translate(${x} ${y + 8}) scale(.75)` : `translate(${x} ${y})`;
      node.setAttribute("transform", spot);
      node.dataset.mark = mark.key;
      top.append(node);
    }
  };

  const drawFilm = (found, film, pictures, filmTop, state) => {
    const ratio = window.devicePixelRatio || 1, { width, narrow } = G;
    canvas.hidden = narrow;
    if (narrow) return;
    canvas.style.top = `${filmTop}px`;
    [canvas.style.width, canvas.style.height] = [`${width}px`, `${FILM}px`];
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(FILM * ratio)];
    if (pictures.length) found.push(shape("text", { x: 4, y: filmTop + FILM / 2 + 4 * K }, "pictures"));
    const here = pictures.map((mark) => film.get(mark.key)).filter((item) => item && item.low !== null);
    let low = Math.min(...here.map((item) => item.low)), high = Math.max(...here.map((item) => item.high));
    // One range and one map for all of them, as for a film of figures.
    const kind = here.some((item) => item.kind === "diverging") ? "diverging" : here.every((item) => item.kind === "two") ? "two" : "sequential";
    if (kind === "diverging") [low, high] = [-Math.max(-low, high), Math.max(-low, high)];
    const map = mapFor(kind, root);
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.imageSmoothingEnabled = true;
    G.film = [];
    for (const mark of pictures) {
      const x = G.scale.x(mark.step) - FILM / 2;
      const picture = film.picture(mark.key, map, low, high);
      let w = FILM, h = FILM;
      if (picture) {
        const shrink = FILM / Math.max(picture.width, picture.height);
        [w, h] = [Math.max(4, picture.width * shrink), Math.max(4, picture.height * shrink)];
        pen.drawImage(picture, x + (FILM - w) / 2, (FILM - h) / 2, w, h);
      }
      const frame = shape("rect", { class: "rn-frame", x, y: filmTop, width: FILM, height: FILM, rx: 2 });
      G.film.push({ key: mark.key, frame });
      found.push(frame);
    }
  };

  const drawTrace = (found, inside, points, top, state, width) => {
    const name = act.fieldName();
    found.push(shape("text", { x: 4, y: top + 11 * K }, name.length > 14 ? `${name.slice(0, 13)}…` : name), shape("text", { x: 4, y: top + 24 * K }, "low, mean, high"));
    if (points.length < 2) return;
    const high = Math.max(...points.map((p) => p.high)), low = Math.min(...points.map((p) => p.low));
    const y = (value) => top + G.trace - 3 - ((G.trace - 6) * (value - low)) / (high - low || 1);
    const path = (list, key) => list.map((p) => `${G.scale.x(p.step).toFixed(1)} ${y(p[key]).toFixed(1)}`).join("L");
    const colour = colourOf(state.leaf);
    inside.append(shape("path", { class: "rn-band", fill: colour, d: `M${path(points, "high")}L${path([...points].reverse(), "low")}z` }), shape("path", { class: "rn-mean", stroke: colour, d: `M${path(points, "mean")}` }));
    const short = (value) => {
      const text = Number(value.toPrecision(3)).toString();
      return text.includes("e") ? Number(value.toPrecision(2)).toString() : text; // there is room for no more
    };
    found.push(shape("text", { x: width - 2, y: top + 11 * K, "text-anchor": "end" }, short(high)), shape("text", { x: width - 2, y: top + 24 * K, "text-anchor": "end" }, short(low)));
  };

  const drawEdge = (lane) => {
    const at = lane.edge ?? lane.last;
    if (!G || !G.rows.has(lane.n) || at < G.scale.low || at > G.scale.high) { edge.replaceChildren(); return; }
    const x = G.scale.x(at), y = rowOf(lane.n), old = lane.ended;
    const bend = lane.fork !== null && G.rows.has(lane.parent) ? G.scale.x(lane.fork) + 6 : 0;
    const from = Math.max(G.scale.x(lane.base ?? at), bend, G.scale.left - 9);
    // It beats as news of it come: a CSS animation would have the page painted sixty times a second.
    const faint = lane.running && !old && Math.floor(performance.now() / 800) % 2;
    const word = old ? "ended" : lane.running ? "live" : "stands", left = x + 9 + 7 * K * word.length > G.width;
    edge.replaceChildren(
      shape("path", { class: "rn-lane", stroke: colourOf(lane.n), d: from < x ? `M${from} ${y}H${x}` : "" }),
      shape("line", { class: old ? "rn-live-line rn-old" : "rn-live-line", x1: x, x2: x, y1: G.ruler + 2, y2: y }),
      shape("circle", { class: `rn-live-dot${faint ? " rn-faint" : ""}${old ? " rn-old" : ""}`, cx: x, cy: y, r: 5.4 }),
      // Where there is no room beside it, above the lane: on it lie marks, and often the playhead.
      shape("text", { class: "rn-live-word", x: left ? x - 4 : x + 9, y: left ? y - 8 : y + 4 * K, "text-anchor": left ? "end" : "start" }, word));
  };

  const playhead = ({ state, lane, near, nothing }) => {
    if (!G) return;
    // The picture of what is shown, or the last before it of those that have room.
    const framed = near && (G.film ?? []).findLast(({ key }) => (act.marks.get(key)?.step ?? Infinity) <= near.step);
    for (const one of G.film ?? []) one.frame.classList.toggle("rn-shown", one === framed);
    if (nothing || state.step < G.scale.low || state.step > G.scale.high) { head.replaceChildren(); return; }
    const x = G.scale.x(state.step), text = words(state.step), w = text.length * 6.8 * K + 14;
    const at = Math.max(G.free + w / 2, Math.min(G.width - w / 2, x));
    for (const label of still.querySelectorAll(".rn-tick")) label.classList.toggle("rn-hidden", Math.abs(Number(label.getAttribute("x")) - at) < w / 2 + 20 * K);
    const parts = [
      shape("line", { class: "rn-head", x1: x, x2: x, y1: 16 * K, y2: G.height - 2 }),
      shape("rect", { class: "rn-head-box", x: at - w / 2, y: 0, width: w, height: 18 * K, rx: 4 }),
      shape("path", { class: "rn-head-box", d: `M${x - 5} ${18 * K - 1}h10l-5 5z` }),
      shape("text", { class: "rn-head-text", x: at, y: 13 * K, "text-anchor": "middle" }, text),
    ];
    if (lane && G.rows.has(lane.n)) {
      const own = near?.step === state.step && near.lane === lane.n ? G.places.get(near.key) : undefined;
      parts.push(shape("circle", { class: "rn-head-dot", cx: own ?? x, cy: rowOf(lane.n), r: 3.6 }));
      // What is shown is a checkpoint before this step.
      if (near && near.step !== state.step && G.rows.has(near.lane)) parts.push(shape("circle", { class: "rn-base", cx: G.scale.x(near.step), cy: rowOf(near.lane), r: 8 }));
    }
    head.replaceChildren(...parts);
  };

  // -- pointer and keys --------------------------------------------------------------------------
  let dragging = false, pointer = -1, hovered = 0;
  let pressed = null; // where, as long as it is no more than a click
  const laneUnder = (y) => {
    if (y < G.lanesTop || y > G.lanesTop + G.shown.length * G.laneHeight) return null;
    return G.shown[Math.floor((y - G.lanesTop) / G.laneHeight)] ?? null;
  };
  const stepUnder = (event, x) => {
    const step = G.scale.step(x);
    if (event.altKey) return step;
    const near = [neighbour(act.marks, act.way(), step, -1), neighbour(act.marks, act.way(), step, 1), neighbour(act.marks, act.way(), step - 1, 1)];
    const snap = near.filter((mark) => mark && Math.abs(G.scale.x(mark.step) - x) < 4).sort((a, b) => Math.abs(G.scale.x(a.step) - x) - Math.abs(G.scale.x(b.step) - x))[0];
    return snap ? snap.step : step;
  };
  const markUnder = (event) => Number(event.target.closest?.("[data-mark]")?.dataset.mark ?? 0);
  const place = (event) => { const box = svg.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  svg.addEventListener("pointerdown", (event) => {
    if (event.button || !G) return;
    const [x, y] = place(event);
    act.halt();
    svg.setPointerCapture(event.pointerId);
    svg.focus();
    dragging = true;
    pointer = event.pointerId;
    board.rnDragged = true;
    pressed = x;
    endTip();
    const lane = laneUnder(y) ?? act.state.lanes.find((one) => one.n === act.state.leaf);
    if (lane && lane.n !== act.state.leaf) { act.state.leaf = lane.n; act.later(); }
    const mark = event.altKey ? undefined : act.marks.get(markUnder(event));
    if (mark) act.moveTo(mark.step, act.state.leaf, isSound(mark) ? mark.key : 0);
    else act.moveTo(x < G.scale.left - 9 ? lane?.last ?? 0 : stepUnder(event, x));
    event.preventDefault();
  });
  svg.addEventListener("pointermove", (event) => {
    if (!G) return;
    const [x, y] = place(event);
    if (dragging) {
      if (pressed !== null && Math.abs(x - pressed) < DRAG) return;
      pressed = null;
      act.moveTo(stepUnder(event, x));
      return;
    }
    showTip(event, x, y);
  });
  // At the document: of a line that is taken out of the page meanwhile, nothing comes to the line itself.
  const endDrag = (event) => { if (dragging && event.pointerId === pointer) { dragging = board.rnDragged = false; act.release(); } };
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    document.addEventListener(name, endDrag, true);
    subscriptions.atEnd(() => document.removeEventListener(name, endDrag, true));
  }
  svg.addEventListener("pointerleave", () => { endTip(); hover.setAttribute("x1", -9); hover.setAttribute("x2", -9); });
  svg.addEventListener("wheel", (event) => {
    if (!G) return;
    const [x] = place(event);
    if (event.ctrlKey) act.zoomBy(event.deltaY < 0 ? 1.25 : 0.8, G.scale.step(x));
    else if (act.state.zoom > 1 && (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))) act.pan(act.state.low + ((event.deltaX || event.deltaY) / G.scale.perStep));
    else return;
    event.preventDefault();
  }, { passive: false });
  svg.addEventListener("keydown", (event) => {
    const jump = Math.max(1, Math.round((act.state.reach / act.state.zoom) / 50));
    const todo = {
      ArrowLeft: () => act.moveTo(act.state.step - (event.shiftKey ? jump : 1)), ArrowRight: () => act.moveTo(act.state.step + (event.shiftKey ? jump : 1)),
      PageUp: () => act.pressMark(-1), PageDown: () => act.pressMark(1), Home: () => act.toFirst(), End: () => act.toNewest(),
      ArrowUp: () => act.hop(-1), ArrowDown: () => act.hop(1), "+": () => act.zoomBy(2), "=": () => act.zoomBy(2), "-": () => act.zoomBy(0.5),
    }[event.key];
    if (event.key === "F2") openName(act.state.leaf, svg);
    if ((!todo && event.key !== "F2") || event.ctrlKey || event.metaKey) return;
    todo?.();
    event.preventDefault();
    event.stopPropagation();
  });

  // -- the name of a run -------------------------------------------------------------------------
  let named = 0, opener = svg;
  const openName = (number, back) => {
    const lane = act.state.lanes.find((one) => one.n === number);
    if (!lane || !G.rows.has(number)) return;
    [named, opener] = [number, back];
    naming.value = lane.name;
    naming.placeholder = `run ${number}`;
    setAttribute(naming, "aria-label", `Name of run ${number}`);
    naming.style.top = `${rowOf(number) - G.laneHeight / 2}px`;
    naming.hidden = false;
    naming.focus();
    naming.select();
  };
  const closeName = (take) => {
    if (naming.hidden) return;
    if (take) act.ask("look.name", { slot: act.state.slot, lane: named, name: naming.value.trim() });
    hide(naming, true, opener);
  };
  naming.addEventListener("blur", () => closeName(true));
  naming.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault(); // else it presses the button that gets the focus
    closeName(event.key === "Enter");
  });
  svg.addEventListener("dblclick", (event) => {
    const [x, y] = place(event), lane = G && x < G.scale.left - 9 ? laneUnder(y) : null;
    if (lane) openName(lane.n, svg);
  });
  svg.addEventListener("rn-movie", (event) => act.askMovie(event.detail));
  svg.addEventListener("rn-name", (event) => openName(act.state.leaf, event.detail));

  // -- what is under the pointer -----------------------------------------------------------------
  let rest = 0, about = {};
  const showTip = (event, x, y) => {
    if (x < G.scale.left - 9 || !act.marks.size) { tip.hidden = true; return; }
    hover.setAttribute("x1", x);
    hover.setAttribute("x2", x);
    const key = markUnder(event);
    const lane = laneUnder(y) ?? laneAt(act.way(), G.scale.step(x));
    const [title, lines] = key && about.key === key ? [about.title, about.lines] : [`step ${words(key ? act.marks.get(key)?.step ?? 0 : G.scale.step(x))}${lane ? ` of run ${lane.n}` : ""}`, []];
    tip.replaceChildren(make("b", {}, title), ...lines.map((line) => make("div", {}, line)));
    tip.hidden = false;
    tip.style.left = `${Math.min(x + 30, Math.max(0, G.width - 220 * K))}px`;
    tip.style.bottom = `${G.height - y + 16}px`;
    if (key === hovered) return;
    hovered = key;
    clearTimeout(rest);
    if (key && about.key !== key) rest = setTimeout(() => act.ask("look.about", { key }), REST_MS);
  };
  const endTip = () => { clearTimeout(rest); hovered = 0; tip.hidden = true; };
  subscriptions.atEnd(() => { clearTimeout(rest); if (dragging) board.rnDragged = false; });

  return {
    draw, playhead, wanted: () => want, dragged: () => dragging,
    liveEdge: (lane) => { if (G) drawEdge(lane); },
    speak(text, step, most) {
      setAttribute(svg, "aria-valuenow", String(step));
      setAttribute(svg, "aria-valuemax", String(Math.max(step, most)));
      setAttribute(svg, "aria-valuetext", text);
    },
    showAbout(now) {
      about = now;
      if (now.key === hovered && !tip.hidden) tip.replaceChildren(make("b", {}, now.title), ...now.lines.map((line) => make("div", {}, line)));
    },
  };
}
