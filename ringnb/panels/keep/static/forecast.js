// The forecast: how full the disk was and will be, with the policy in force (dashed) and the one chosen (solid).
function svg(tag, attributes = {}, text = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}
function drawForecast(root, forecast, scaleOfText) {
  const room = root.clientWidth / scaleOfText || 740, narrow = room < 600;
  root.style.setProperty("--rn-text", scaleOfText); // the whole picture is scaled, its texts are not once more
  const W = narrow ? 460 : Math.min(740, room), H = forecast.lines ? 104 : 30, x0 = 58, x1 = W - (narrow ? 132 : 150), y0 = 14, y1 = H - 18;
  setAttribute(root, "viewBox", `0 0 ${W} ${H}`);
  if (!forecast.lines) {
    setAttribute(root, "aria-label", "No forecast");
    root.replaceChildren(svg("text", { class: "rn-sub", x: 0, y: 20 }, forecast.words ?? "No forecast yet: it needs two checkpoints"));
    return;
  }
  const days = forecast.days, x = (d) => x0 + ((x1 - x0) * (d + 1)) / (days + 1);
  const top = forecast.full ?? Math.max(...forecast.lines.flatMap((line) => line.points), 1);
  const low = forecast.used0;
  // What others use is not drawn to scale: the store's growth would be a hair's breadth.
  const y = (bytes) => y1 - 8 - (y1 - 8 - y0) * Math.max(0, Math.min(1, (bytes - low) / Math.max(1, top - low)));
  const parts = [];
  if (forecast.full !== undefined) parts.push(svg("text", { class: "rn-sub", x: x0 - 6, y: y0 + 4, "text-anchor": "end" }, "full"), svg("line", { class: "rn-full", x1: x0, x2: x1, y1: y0, y2: y0 }));
  for (let d = -1; d <= days; d++) {
    parts.push(svg("line", { class: "rn-gridline", x1: x(d), x2: x(d), y1: y0, y2: y1 }));
    if (!narrow || d % 2 === 0) parts.push(svg("text", { class: "rn-sub", x: x(d), y: H - 4, "text-anchor": "middle" }, d === 0 ? "now" : d < 0 ? "yesterday" : `+${d} d`));
  }
  parts.push(svg("path", { class: "rn-past", d: `M${x(-1)} ${y(low)}L${x(0)} ${y(forecast.now)}` }));
  forecast.lines.forEach((line, i) => {
    const reached = line.full_day !== null && line.full_day <= days;
    const path = [];
    line.points.forEach((bytes, quarter) => { if (!reached || quarter / 4 <= line.full_day) path.push(`${x(quarter / 4).toFixed(1)} ${y(forecast.now + bytes).toFixed(1)}`); });
    if (reached) path.push(`${x(line.full_day).toFixed(1)} ${y0}`);
    parts.push(svg("path", { class: line.chosen ? "rn-chosen-line" : "rn-force-line", d: `M${path.join("L")}`, "data-line": line.chosen ? "chosen" : "in force" }));
    if (reached) parts.push(svg("circle", { class: "rn-full-dot", cx: x(line.full_day), cy: y0, r: 4 }));
    const at = y(forecast.now + line.points.at(-1));
    // A long name takes two lines.
    const cut = line.name.length > 22 ? line.name.lastIndexOf(" ", 22) : -1;
    const name = cut > 0 ? [line.name.slice(0, cut), line.name.slice(cut + 1)] : [line.name];
    const ty = Math.max(y0 + 4, Math.min(y1 - 18, reached ? y0 + 10 : at)) + (i === 1 && forecast.lines.length > 1 ? (at > (y0 + y1) / 2 ? -12 - 12 * name.length : 14) : 0);
    const words = svg("text", { class: line.chosen ? "rn-strong" : "rn-sub", x: x1 + 6, y: ty });
    words.append(...[...name, line.words].map((text, row) => svg("tspan", { x: x1 + 6, dy: row ? 12 : 0 }, text)));
    parts.push(words);
  });
  setAttribute(root, "aria-label", `Bytes on the disk. ${forecast.lines.map((line) => `${line.name}: ${line.words}`).join("; ")}`);
  root.replaceChildren(...parts);
}
