// The film: small pictures and values of checkpoints, by their marks' keys, as the page has asked for them.
const ASK_AGAIN_MS = 4000; // a message may be lost
function makeFilm() {
  const items = new Map(); // key: { rows, columns, data, low, mean, high, bad, kind, canvas, tint }
  const asked = new Map();
  let taken = -1;
  return {
    get: (key) => items.get(key),
    clear() { items.clear(); asked.clear(); },
    async take(batch) {
      if (!batch.items || batch.n === taken) return false;
      taken = batch.n;
      let at = 0;
      const bytes = new Uint8Array(batch.px.buffer, batch.px.byteOffset, batch.px.byteLength);
      for (const [key, rows, columns, size, low, mean, high, bad, kind] of batch.items) {
        const packed = bytes.slice(at, at + size);
        at += size;
        const data = size ? await unpack(packed, rows, columns) : items.get(key)?.data ?? null;
        items.set(key, { rows, columns, data, low, mean, high, bad, kind, tint: "" });
        asked.delete(key);
      }
      return true;
    },
    // Of what is wanted, the keys that are not here and were not asked for a moment ago.
    lacking({ pictures, values }) {
      const now = performance.now();
      const need = (key, picture) => !(items.has(key) && (!picture || items.get(key).data)) && !(now - (asked.get(key) ?? -1e9) < ASK_AGAIN_MS);
      const keys = pictures.filter((key) => need(key, true));
      const traces = values.filter((key) => !keys.includes(key) && need(key, false));
      for (const key of [...keys, ...traces]) asked.set(key, now);
      return { keys, traces };
    },
    // A small canvas of a picture, coloured so that all of them have one range.
    picture(key, map, low, high) {
      const item = items.get(key);
      if (!item?.data) return null;
      const tint = `${map} ${low} ${high}`;
      if (item.tint !== tint) {
        item.canvas ??= document.createElement("canvas");
        const scale = 254 / Math.max(high - low, 1e-300);
        const table = Uint8Array.from({ length: 256 }, (_, byte) => byte === 0 ? 0 : 1 + Math.round(Math.max(0, Math.min(254, (item.low + ((byte - 1) / 254) * (item.high - item.low) - low) * scale))));
        paint(item.canvas, item.data.map((byte) => table[byte]), item.rows, item.columns, map);
        item.tint = tint;
      }
      return item.canvas;
    },
  };
}
