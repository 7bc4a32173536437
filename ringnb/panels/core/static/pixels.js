// Pictures that come as one byte per cell (`pixels.py`): unpacked, and coloured here. LUTS, the colours of the
// bytes 1 to 255 by the map's name, is put before this script.
const rnTables = Object.fromEntries(Object.entries(LUTS).map(([name, text]) => [name, Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]));
// Undo `pack`: inflate, then sum along rows and along columns. Uint8Array wraps at 256, as NumPy does.
async function unpack(packed, rows, columns) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const data = new Uint8Array(await new Response(stream).arrayBuffer());
  if (data.length !== rows * columns) throw new Error(`${data.length} bytes are no picture of ${rows} by ${columns}`);
  for (let i = 0; i < rows; i++) {
    let sum = 0;
    for (let at = i * columns, end = at + columns; at < end; at++) {
      sum = (sum + data[at]) & 255;
      data[at] = i ? sum + data[at - columns] : sum;
    }
  }
  return data;
}
// Whether a page is dark behind a node: by its colours, not by a theme's name, which says nothing elsewhere.
let rnPen = null; // of a canvas of one pixel
function darkBehind(node) {
  const pen = (rnPen ??= document.createElement("canvas").getContext("2d", { willReadFrequently: true }));
  for (let at = node; at; at = at.parentElement) {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = getComputedStyle(at).backgroundColor;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    if (a > 127) return 0.3 * r + 0.6 * g + 0.1 * b < 128;
  }
  return false;
}
// The map of a kind of values; a diverging one has the page's own lightness in the middle.
function mapFor(kind, node, wanted = "fits") {
  if (wanted !== "fits" && rnTables[wanted]) return wanted;
  if (kind === "diverging") return darkBehind(node) ? "berlin" : "PuOr_r";
  return kind === "two" ? "two" : "viridis";
}
// Paint bytes (rows, columns) on a canvas of so many pixels, row 0 at the bottom. What is not finite is striped.
function paint(canvas, data, rows, columns, map) {
  canvas.width = columns;
  canvas.height = rows;
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(columns, rows);
  const table = rnTables[map];
  for (let i = 0; i < rows; i++) {
    let to = (rows - 1 - i) * columns * 4;
    for (let j = 0, from = i * columns; j < columns; j++, from++, to += 4) {
      const byte = data[from];
      if (byte) {
        const at = 3 * (byte - 1);
        image.data[to] = table[at];
        image.data[to + 1] = table[at + 1];
        image.data[to + 2] = table[at + 2];
      } else {
        const stripe = (i + j) % 6 < 3;
        image.data[to] = stripe ? 214 : 255;
        image.data[to + 1] = image.data[to + 2] = stripe ? 20 : 214;
      }
      image.data[to + 3] = 255;
    }
  }
  pen.putImageData(image, 0, 0);
}
// Paint the pictures of cards, by slot: what a canvas does not show yet, or not in the colours that the page has now.
// An item holds `packed` and `map` of what was begun last. All are begun at once, so that a newer call has the last word.
const paintCards = (items, pictures) => Promise.all(Object.entries(pictures).map(async ([slot, { rows, columns, packed, kind }]) => {
  const item = items.get(Number(slot)), map = item && mapFor(kind, item.canvas), isLast = () => item.packed === packed && item.map === map;
  if (!item || isLast()) return;
  Object.assign(item, { packed, map });
  const data = await unpack(packed, rows, columns);
  if (isLast()) paint(item.canvas, data, rows, columns, map);
}));
// The colours of a map as a column of 255 pixels, high values on top.
function paintBar(canvas, map) {
  paint(canvas, Uint8Array.from({ length: 255 }, (_, i) => i + 1), 255, 1, map);
}
// Call back when the page may have got other colours.
function onThemeChange(subscriptions, callback) {
  const later = [0, 100, 600]; // a theme's name changes before its style sheet is there
  const timers = new Set();
  const soon = () => later.forEach((ms) => timers.add(setTimeout(callback, ms)));
  const observer = new MutationObserver(soon);
  for (const node of [document.documentElement, document.body]) observer.observe(node, { attributes: true });
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", soon);
  subscriptions.atEnd(() => {
    observer.disconnect();
    media.removeEventListener("change", soon);
    timers.forEach(clearTimeout);
  });
}
