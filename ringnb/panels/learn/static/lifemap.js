// The way of a snapshot request: a map of stations, drawn by territory, and a chip per request. A request goes
// through in milliseconds, so chips lag behind: each hop takes as long as people need to see it. Below are the
// times as they were measured, as bars or as a table.
const HOP_MS = 420;
const WIDTH = 740;
// Per station: its box (x, y, width, height), or the centre of its ring; and where chips stand.
const BOXES = { due: [14, 28, 84, 46], requested: [122, 28, 104, 46], captured: [448, 28, 276, 46], staging: [448, 118, 276, 50], received: [122, 118, 104, 46], writing: [122, 198, 150, 44], committed: [330, 198, 150, 44], retired: [540, 198, 184, 44] };
const RINGS = { h2k: [335, 46, "H2K"], k2h: [335, 140, "K2H"] };
const STANDS = { due: [56, 76], requested: [186, 76], h2k: [335, 88], captured: [690, 74], staging: [560, 168], k2h: [335, 182], received: [196, 166], writing: [236, 242], committed: [444, 242], retired: [688, 242] };
const ARROWS = ["M98 51H120", "M226 51H300", "M370 51H446", "M586 74V116", "M448 143H371", "M300 143H228", "M174 164V196", "M272 220H328", "M480 220H538"];
const SLOTS = 64; // arcs of a ring
const NEWEST = 5; // requests drawn as bars
// From which spans, in which unit at least (ns), where from and how wide, on a wide and on a narrow page.
const BARS = [
  { first: 1, last: 4, unit: 0, wide: [118, 236], narrow: [66, 130], words: ["to the ring", "captured", "answered"], head: "in memory:" },
  { first: 4, last: 6, unit: 1, wide: [408, 236], narrow: [228, 120], words: ["written", "published"], head: "on disk:" },
];
const UNITS = [[1e3, "µs"], [1e6, "ms"], [1e9, "s"]];
const count = (n, digits = 0) => n.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const duration = (ns) => (ns >= 100_000 ? `${count(ns / 1e6, 2)} ms` : `${count(ns / 1e3, 1)} µs`);
function svg(tag, attributes = {}, text = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}
function arc(cx, cy, at) {
  const a = (at / SLOTS) * 2 * Math.PI - Math.PI / 2, b = a + 0.075;
  const p = (r, t) => `${(cx + r * Math.cos(t)).toFixed(1)} ${(cy + r * Math.sin(t)).toFixed(1)}`;
  return `M${p(33, a)}A33 33 0 0 1 ${p(33, b)}L${p(26, b)}A26 26 0 0 0 ${p(26, a)}z`;
}
// Has a text that is too long for its box drawn closer.
function squeeze(text, room) {
  text.removeAttribute("textLength");
  if (!(text.getComputedTextLength() > room)) return;
  text.setAttribute("textLength", room);
  text.setAttribute("lengthAdjust", "spacingAndGlyphs");
}
// The map. It shows what is set; chips are placed from outside.
function makeMap(stations) {
  const root = svg("svg", { class: "rn-map", viewBox: `0 0 ${WIDTH} 254`, width: "100%", role: "img" });
  const id = `rn-arrow-${Math.random().toString(36).slice(2)}`;
  const marker = svg("marker", { id, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" });
  marker.append(svg("path", { class: "rn-arrow", d: "M0 0l8 4-8 4z" }));
  root.append(svg("defs"));
  root.firstChild.append(marker);
  for (const [x, y, width, height, name] of [[2, 2, 236, 180, "PYTHON"], [432, 2, 306, 180, "KERNEL"], [2, 190, 736, 62, "DISK"]])
    root.append(svg("rect", { class: "rn-zone", x, y, width, height, rx: 9 }), svg("text", { class: "rn-zone-name", x: x + 10, y: y + 15 }, name));
  const parts = {};
  for (const { id: key, name } of stations) {
    const group = svg("g", { "data-station": key });
    const fill = svg("text", { class: "rn-sub" });
    if (BOXES[key]) {
      const [x, y, width, height] = BOXES[key];
      const box = svg("rect", { class: "rn-station", x, y, width, height, rx: 6 });
      for (const [k, v] of [["x", x + 9], ["y", y + 30]]) fill.setAttribute(k, v);
      group.append(box, svg("text", { class: "rn-name", x: x + 9, y: y + 16 }, name), fill);
    } else {
      const [cx, cy, short] = RINGS[key];
      for (let i = 0; i < SLOTS; i++) group.append(svg("path", { class: "rn-slot", d: arc(cx, cy, i) }));
      for (const [k, v] of [["x", cx], ["y", cy + 13], ["text-anchor", "middle"]]) fill.setAttribute(k, v);
      group.append(svg("circle", { class: "rn-around", cx, cy, r: 37 }), svg("text", { class: "rn-name", x: cx, y: cy + 1, "text-anchor": "middle" }, short), fill);
    }
    parts[key] = { group, fill };
    root.append(group);
  }
  const buffers = [0, 1, 2, 3].map((i) => svg("rect", { class: "rn-buffer", x: 674 - 46 * i, y: 126, width: 40, height: 34, rx: 3 }));
  parts.staging?.group.append(...buffers);
  for (const d of ARROWS) root.append(svg("path", { class: "rn-wire", d, "marker-end": `url(#${id})` }));
  const chips = svg("g");
  root.append(chips);
  return {
    root, chips,
    show(scene, fills) {
      const [taken, all] = scene.buffers ?? [0, 2];
      buffers.forEach((node, i) => { node.style.display = i < all ? "" : "none"; setAttribute(node, "data-full", String(i < taken)); });
      const passed = new Set((scene.tokens ?? []).find((token) => token.id === scene.selected)?.path ?? []);
      for (const [key, { group, fill }] of Object.entries(parts)) {
        const lit = scene.rings?.[key] ?? 0;
        if (RINGS[key]) [...group.querySelectorAll(".rn-slot")].forEach((node, i) => setAttribute(node, "data-full", String(i < Math.min(lit, SLOTS))));
        setText(fill, RINGS[key] ? (fills[key] ?? "").replace(" slots", "") : fills[key] ?? "");
        squeeze(fill, BOXES[key] ? BOXES[key][2] - 14 : 42);
        setAttribute(group, "data-held", String(scene.held === key));
        setAttribute(group, "data-passed", String(passed.has(key)));
      }
    },
  };
}
// The same as a list, for a narrow page.
function makeList(stations) {
  const root = make("ol", { class: "rn-way", "aria-label": "Stations of a snapshot request" });
  const rows = {};
  for (const { id, name, where } of stations) {
    const fill = make("span", { class: "rn-soft" }), chips = make("span", { class: "rn-chips" });
    const row = make("li", { "data-station": id }, make("span", { class: "rn-soft" }, where), make("b", {}, name), fill, chips);
    rows[id] = { row, fill, chips };
    root.append(row);
  }
  return {
    root, rows,
    show(scene, fills) {
      for (const [key, { row, fill }] of Object.entries(rows)) {
        setText(fill, fills[key] ?? "");
        setAttribute(row, "data-held", String(scene.held === key));
      }
    },
  };
}
// Scale of an axis: its end, and a tick.
function scaleTo(largest) {
  const tick = [1, 2, 5, 10].map((m) => m * 10 ** Math.floor(Math.log10(Math.max(largest, 1e-9) / 4))).find((t) => largest / t <= 5) ?? largest;
  return { end: tick * Math.max(1, Math.ceil(largest / tick)), tick };
}
function drawBars(root, times, narrow) {
  const rows = (times.rows ?? []).filter((row) => row.ns.some((ns) => ns !== null)).slice(0, NEWEST);
  const width = narrow ? 440 : WIDTH, top = narrow ? 44 : 30, height = top + Math.max(1, rows.length) * 14 + 16;
  setAttribute(root, "viewBox", `0 0 ${width} ${height}`);
  setAttribute(root, "aria-label", rows.length ? `Measured times of the newest ${rows.length} requests; as a table they can be read` : "Nothing was measured yet");
  const parts = narrow ? [] : [svg("text", { class: "rn-name", x: 2, y: 12 }, "Measured")];
  if (!rows.length) parts.push(svg("text", { class: "rn-sub", x: narrow ? 2 : 118, y: 12 }, "Nothing is measured yet: the first snapshot is still to come"));
  for (const { first, last, unit, wide, narrow: small, words, head } of rows.length ? BARS : []) {
    const [x, room] = narrow ? small : wide;
    const legend = svg("text", { class: "rn-sub", x: narrow ? 2 : x, y: narrow && unit ? 26 : 12 });
    legend.append(svg("tspan", {}, head));
    words.forEach((word, i) => legend.append(svg("tspan", { class: `rn-key-square rn-span${first + i}`, dx: 5 }, "■"), svg("tspan", { dx: 2 }, word)));
    parts.push(legend);
    const sum = (row) => row.ns.slice(first, last).reduce((total, ns) => total + (ns ?? 0), 0);
    const largest = Math.max(...rows.map(sum));
    if (!largest) continue;
    const [ns, name] = UNITS.slice(unit).find(([ns]) => largest < 1e4 * ns) ?? UNITS[2];
    const { end, tick } = scaleTo(largest / ns);
    for (let k = 0; k * tick <= end * 1.0001; k++) {
      const at = k * tick, to = x + (room * at) / end, isLast = at + tick > end * 1.0001;
      parts.push(svg("line", { class: "rn-gridline", x1: to, x2: to, y1: top - 8, y2: height - 16 }));
      if (!narrow || k === 0 || isLast) parts.push(svg("text", { class: "rn-sub", x: to, y: height - 3, "text-anchor": "middle" }, `${(+at.toPrecision(3)).toLocaleString("en-US")}${isLast ? ` ${name}` : ""}`));
    }
    rows.forEach((row, i) => {
      let from = x;
      for (let k = first; k < last; k++) {
        if (row.ns[k] === null) continue;
        const long = (room * row.ns[k]) / ns / end;
        const bar = svg("rect", { class: `rn-span${k}`, x: from.toFixed(2), y: top + i * 14 - 4.5, width: Math.max(1, long).toFixed(2), height: 9, "data-ns": row.ns[k], "data-request": row.request });
        bar.append(svg("title", {}, `#${row.request} ${times.headings[k]}: ${duration(row.ns[k])}`));
        parts.push(bar);
        from += long;
      }
    });
  }
  rows.forEach((row, i) => {
    const y = top + 4 + i * 14, total = row.ns.reduce((sum, ns, k) => sum + (k > 0 ? ns ?? 0 : 0), 0);
    const step = row.step === null || narrow ? "" : ` ${count(row.step)}`;
    const outcome = svg("text", { class: "rn-name rn-thin", x: width - 4, y, "text-anchor": "end", "data-end": row.end }, `${count(total / 1e6, 1)} ms ${row.mark}`);
    outcome.append(svg("title", {}, row.words));
    parts.push(svg("text", { class: "rn-name rn-thin", x: 2, y }, `#${row.request} a${row.slot}${step}`), outcome);
  });
  root.replaceChildren(...parts);
}
function fillTable(table, times) {
  const caption = make("caption", {}, "Measured times of the newest requests (in the picture each hop is slowed down)");
  const heads = ["request", "actor", ...(times.headings ?? []), "outcome"].map((text) => make("th", { scope: "col" }, text));
  const rows = (times.rows ?? []).map((row) => {
    const cells = [String(row.request), String(row.slot), ...row.ns.map((ns) => (ns === null ? "" : duration(ns))), row.words];
    const line = make("tr", row.end === "bad" ? { class: "ringnb-trouble" } : {}, ...cells.map((text) => make("td", {}, text)));
    row.ns.forEach((ns, k) => { if (ns !== null) line.children[2 + k].dataset.ns = String(ns); });
    return line;
  });
  table.replaceChildren(caption, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
}
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const board = await part(model, "board");
  const calm = matchMedia("(prefers-reduced-motion: reduce)"); // it may change
  const slow = make("input", { type: "checkbox", id: `slow-${Math.random().toString(36).slice(2)}` });
  slow.checked = true;
  const note = make("span", { class: "rn-about rn-soft" });
  const toggle = make("button", { type: "button", class: "rn-b rn-small", "aria-pressed": "false", title: "The measured times as numbers" }, icon("list"), "As a table");
  const head = make("div", { class: "rn-headrow" }, make("h3", {}, "The life of a snapshot"), note, make("label", { for: slow.id, title: "Each hop takes 0.4 s on the screen" }, slow, " slow motion"), toggle);
  const stations = model.get("stations");
  const map = makeMap(stations), list = makeList(stations);
  const bars = svg("svg", { class: "rn-bars", width: "100%", role: "img" });
  const table = make("table");
  const tableBox = make("div", { class: "rn-table", tabindex: "0", role: "region", "aria-label": "Measured times", hidden: "" }, table);
  const pictures = make("div", { class: "rn-pictures" }, map.root, list.root);
  const root = make("div", { class: "rn-learn" }, head, pictures, bars, tableBox);
  el.append(root);
  toggle.addEventListener("click", () => {
    const asTable = toggle.getAttribute("aria-pressed") !== "true";
    toggle.setAttribute("aria-pressed", String(asTable));
    tableBox.hidden = !asTable;
    bars.style.display = asTable ? "none" : "";
  });
  const chips = new Map(); // request id: {drawn, listed, shown: index into its path}
  const newChip = (token) => {
    const drawn = svg("g", { class: "rn-chip", "data-request": token.id });
    drawn.append(svg("rect", { x: -32, y: -9, width: 64, height: 18, rx: 9 }), svg("text", { "text-anchor": "middle", y: 4 }), svg("title"));
    return { drawn, listed: make("span", { class: "rn-chip-listed", "data-request": String(token.id) }), shown: -1 };
  };
  let seen = false; // behind another tab nothing is drawn
  const tick = () => {
    if (!seen) return;
    const standing = {}; // chips at each station, the newest first
    for (const token of [...(model.get("scene").tokens ?? [])].reverse()) {
      if (!chips.has(token.id)) chips.set(token.id, newChip(token));
      const chip = chips.get(token.id), last = token.path.length - 1;
      chip.shown = slow.checked ? Math.min(last, chip.shown + 1) : last;
      const at = token.path[Math.max(0, chip.shown)], ended = chip.shown === last;
      const text = ended && token.mark ? `${token.label} ${token.mark}` : token.label;
      const place = (standing[at] = (standing[at] ?? 0) + 1) - 1;
      const [x, y] = STANDS[at] ?? [0, 0];
      const short = token.mark?.length > 2 ? `${token.label} ${token.mark[0].replace(/\w/, "")}`.trimEnd() : text; // its sign, no letter
      setText(chip.drawn.children[1], ended ? short : token.label);
      setText(chip.drawn.children[2], token.note);
      setText(chip.listed, text);
      chip.listed.title = token.note;
      for (const node of [chip.drawn, chip.listed]) { setAttribute(node, "data-end", ended ? token.end : ""); setAttribute(node, "data-at", at); }
      chip.drawn.style.transform = `translate(${x - 8 * place}px, ${y - 5 * place}px)`;
      chip.drawn.style.display = place < (ended ? 1 : 3) ? "" : "none"; // of what has ended the newest
      chip.drawn.style.transition = calm.matches || chip.drawn.parentNode === null ? "none" : "";
      if (chip.drawn.parentNode === null) map.chips.prepend(chip.drawn);
      const row = list.rows[at]?.chips;
      if (row && chip.listed.parentNode !== row) row.append(chip.listed);
      chip.listed.hidden = place >= 3;
    }
    const alive = new Set((model.get("scene").tokens ?? []).map((token) => token.id));
    for (const [id, chip] of chips) if (!alive.has(id)) { chip.drawn.remove(); chip.listed.remove(); chips.delete(id); }
  };
  const show = () => {
    if (!seen) return;
    const scene = model.get("scene"), actor = board.get("actor");
    const stands = board.get("life") !== "running" ? "ended at step" : actor.running && !scene.held ? "steps on" : "stands at step";
    const fills = { ...scene.fills, due: dueIn(board) };
    if (actor.step !== undefined) fills.captured = `actor ${actor.slot} ${stands}${stands === "steps on" ? ":" : ""} ${count(actor.step)}${scene.copied ? `; copied in ${scene.copied}` : ""}`;
    map.show(scene, fills);
    list.show(scene, fills);
    setText(note, note.title = scene.note || (scene.by_hand ? "No request is on its way: turn the crank" : "a service thread moves it; here each hop is slowed down"));
    setAttribute(note, "data-held", String(Boolean(scene.held)));
    setAttribute(map.root, "aria-label", `The way of a snapshot request. ${note.textContent}`);
    if (!slow.checked) tick();
  };
  let narrow = false;
  const showTimes = () => { drawBars(bars, model.get("times"), narrow); fillTable(table, model.get("times")); };
  const measure = () => {
    const was = seen;
    seen = root.clientWidth > 0;
    if (!seen) return;
    if (!was) { show(); tick(); }
    root.style.setProperty("--rn-text", scaleOfText()); // pictures are scaled whole, their texts not once more
    if (narrow === (root.clientWidth < 600 * scaleOfText())) return;
    narrow = !narrow;
    showTimes();
  };
  const scaleOfText = textScale(root, subscriptions, measure);
  const size = new ResizeObserver(measure);
  size.observe(root);
  subscriptions.atEnd(() => size.disconnect());
  subscriptions.on(model, "change:scene", show);
  subscriptions.on(model, "change:times", showTimes);
  for (const name of ["actor", "due_at"]) subscriptions.on(board, `change:${name}`, show);
  subscriptions.every(1000, show);
  subscriptions.every(HOP_MS, tick);
  showTimes();
  keepShortcutsAway(root);
  return () => subscriptions.end();
}
VIEWS.lifemap = render;
