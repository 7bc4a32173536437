// The way of a snapshot request, a box per station and a chip per request. A request goes through in
// milliseconds, so chips lag behind: each hop takes as long as people need to see it. Times in the table
// below are the measured ones.
const HOP_MS = 420;
function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const slow = make("input", { type: "checkbox", id: `slow-${Math.random().toString(36).slice(2)}` });
  slow.checked = true;
  const head = make("div", { class: "ringnb-slow" }, slow, make("label", { for: slow.id }, " slow motion (each hop takes 0.4 s on the screen)"));
  const way = make("ol", { class: "ringnb-way", "aria-label": "Stations of a snapshot request" });
  const note = make("p", { class: "ringnb-held" });
  el.append(head, way, note);
  const boxes = {};
  const chips = new Map(); // request id -> {node, shown: index into its path}
  const build = () => {
    for (const station of model.get("scene").stations ?? []) {
      if (boxes[station.id]) continue;
      const tokens = make("span", { class: "ringnb-tokens" });
      const fill = make("span", { class: "ringnb-fill" });
      const box = make("li", { "data-station": station.id, "data-where": station.where }, make("span", { class: "ringnb-station" }, station.name), fill, tokens);
      boxes[station.id] = { box, tokens, fill };
      way.append(box);
    }
  };
  const move = (node, target) => {
    if (node.parentElement === target) return;
    const from = node.getBoundingClientRect();
    target.append(node);
    if (calm || !from.width) return;
    const to = node.getBoundingClientRect();
    node.animate([{ transform: `translate(${from.x - to.x}px, ${from.y - to.y}px)` }, { transform: "none" }], { duration: HOP_MS * 0.8, easing: "ease-in-out" });
  };
  const tick = () => {
    const scene = model.get("scene");
    for (const token of scene.tokens ?? []) {
      let chip = chips.get(token.id);
      if (!chip) {
        chip = { node: make("span", { class: "ringnb-token", "data-request": String(token.id) }), shown: -1 };
        chips.set(token.id, chip);
      }
      const last = token.path.length - 1;
      chip.shown = slow.checked ? Math.min(last, chip.shown + 1) : last;
      const there = boxes[token.path[Math.max(0, chip.shown)]];
      if (there) move(chip.node, there.tokens);
      const ended = chip.shown === last;
      const text = ended && token.mark ? `${token.label} ${token.mark}` : token.label;
      if (chip.node.textContent !== text) chip.node.textContent = text;
      chip.node.dataset.end = ended ? token.end : "";
      chip.node.title = token.note;
    }
    const alive = new Set((scene.tokens ?? []).map((token) => token.id));
    for (const [id, chip] of chips) if (!alive.has(id)) { chip.node.remove(); chips.delete(id); }
  };
  const fills = () => {
    const scene = model.get("scene");
    build();
    for (const [id, { box, fill }] of Object.entries(boxes)) {
      const text = scene.fills?.[id] ?? "";
      if (fill.textContent !== text) fill.textContent = text;
      box.dataset.held = String(scene.held === id);
    }
    if (note.textContent !== (scene.note ?? "")) note.textContent = scene.note ?? "";
    if (!slow.checked) tick();
  };
  subscriptions.on(model, "change:scene", fills);
  const timer = setInterval(tick, HOP_MS);
  subscriptions.atEnd(() => clearInterval(timer));
  fills();
  tick();
  return () => subscriptions.end();
}
export default { render };
