// The contact sheet: a tile per checkpoint, newest first. Pictures are asked for as they come into view.
const FATES = { damaged: "damaged", goes: "✗ goes", bad: "not good", pinned: "pinned" };
const MORE = 240; // tiles, with each press
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const [board, hand] = [await part(model, "board"), await part(model, "hand")];
  const heading = make("h3");
  const check = make("button", { type: "button", class: "rn-b rn-small", title: "Read every byte of every checkpoint of this actor" }, icon("done"), "Check all");
  const fetchAll = make("button", { type: "button", class: "rn-b rn-small", title: "This actor's checkpoints as one zip file" }, icon("M7 1h2v7h3l-4 4.5L4 8h3zM2 13.5h12V15H2z"), "Download");
  const list = make("div", { class: "rn-sheet", role: "listbox", "aria-label": "Checkpoints, newest first" });
  const empty = make("p", { class: "rn-soft" }, "Nothing stored yet. Each checkpoint will stand here with a small picture: press Snapshot now below, or switch Automatic on.");
  const more = make("button", { type: "button", class: "rn-b rn-small", hidden: "" });
  const picture = svg("svg", { class: "rn-forecast", width: "100%", role: "img" });
  const root = make("div", { class: "rn-keep" }, make("div", { class: "rn-headrow" }, heading, make("span", { class: "rn-grow" }), check, fetchAll), empty, list, more, picture);
  el.append(root);
  check.addEventListener("click", () => send(board, hand, "moment.check_all", {}, check));
  fetchAll.addEventListener("click", () => send(board, hand, "moment.download_all", {}, fetchAll));
  const film = makeFilm();
  const tiles = new Map(); // by key: {key, sequence, name, step, run, fate, words, made, node}
  let version = 0;

  // -- tiles
  const go = (tile) => { send(board, hand, "look.to", { name: tile.name }, tile.node); };
  const newNode = (tile) => {
    const canvas = make("canvas", { width: "1", height: "1" }), fate = make("span", { class: "rn-fate" });
    const step = make("b"), run = make("span", { class: "rn-run" }), made = make("span", { class: "rn-made", hidden: "" });
    const node = make("button", { type: "button", role: "option", class: "rn-tile", "aria-selected": "false", "data-key": String(tile.key) }, make("span", { class: "rn-im" }, canvas, fate), make("span", { class: "rn-cap" }, step, run, made));
    node.addEventListener("click", () => {
      const tile = tiles.get(Number(node.dataset.key));
      if (tile.fate === "damaged") send(board, hand, "retention.consider_damaged", { name: tile.name }, node);
      else go(tile);
    });
    return Object.assign(node, { rn: { canvas, fate, step, run, made } });
  };
  const fill = (tile, twins) => {
    const alone = twins.length === 1;
    // Of those that were made in one second, what their names end with.
    const also = twins.some((one) => one !== tile && one.made === tile.made) ? tile.name.match(/\.\d+$/)?.[0] ?? "" : "";
    const { fate, step, run, made } = tile.node.rn;
    setText(fate, FATES[tile.fate] ?? "");
    fate.hidden = !tile.fate;
    setText(step, tile.step >= 0 ? tile.step.toLocaleString("en-US") : "?");
    setText(run, tile.run ? `r${tile.run}` : "");
    run.style.color = `var(--rn-lane${((tile.run - 1 + 6) % 6) + 1})`;
    made.hidden = alone; // several of one step are told apart by when they were made
    setText(made, `${tile.made} ${also}`.trim());
    setAttribute(tile.node, "data-fate", tile.fate);
    setAttribute(tile.node, "title", tile.words);
    setAttribute(tile.node, "data-name", tile.name);
    const said = { goes: "would go", damaged: "damaged", bad: "not good", pinned: "pinned", "": "stays" }[tile.fate];
    setAttribute(tile.node, "aria-label", `step ${tile.step.toLocaleString("en-US")}, run ${tile.run || "?"}, ${said}${alone || !tile.made ? "" : `, made at ${tile.made} UTC ${also}`}`.trim());
  };
  const order = () => [...tiles.values()].sort((a, b) => b.sequence - a.sequence);
  const arrange = () => {
    const shown = order(), count = Math.max(model.get("count"), shown.length), left = count - shown.length;
    const ofStep = new Map();
    for (const tile of shown) ofStep.set(tile.step, [...ofStep.get(tile.step) ?? [], tile]);
    list.style.setProperty("--rn-digits", Math.max(...shown.map(({ step }) => step.toLocaleString("en-US").length), 0));
    shown.forEach((tile, i) => {
      tile.node ??= newNode(tile);
      fill(tile, ofStep.get(tile.step));
      if (list.children[i] !== tile.node) list.insertBefore(tile.node, list.children[i] ?? null);
      seen.observe(tile.node);
    });
    while (list.children.length > shown.length) list.lastChild.remove();
    empty.hidden = count > 0;
    list.hidden = !count;
    picture.toggleAttribute("hidden", !count);
    hide(more, !left, list.lastElementChild ?? root);
    setText(more, `Show ${Math.min(MORE, left)} of ${left.toLocaleString("en-US")} more`);
    setText(heading, `${count.toLocaleString("en-US")} ${count === 1 ? "checkpoint" : "checkpoints"} of ${model.get("actor")}, newest first`);
    select();
    later();
    keepShortcutsAway(root);
  };
  const select = () => {
    const head = board.get("playhead");
    let first = null;
    for (const node of list.children) {
      const tile = tiles.get(Number(node.dataset.key)), on = tile?.name === head.name;
      setAttribute(node, "aria-selected", String(on));
      if (on) first = node;
    }
    const focused = list.contains(document.activeElement) ? document.activeElement : null;
    for (const node of list.children) setAttribute(node, "tabindex", node === (focused ?? first ?? list.firstChild) ? "0" : "-1");
  };
  const take = () => {
    const change = model.get("tiles");
    if (change.v === version) return;
    if (change.from !== 0 && change.from !== version) { tell(hand, "retention.all", {}); return; }
    if (change.from === 0) { for (const { node } of tiles.values()) node?.remove(); tiles.clear(); }
    version = change.v;
    for (const key of change.gone ?? []) { tiles.get(key)?.node?.remove(); tiles.delete(key); }
    for (const [key, sequence, name, step, run, fate, words, made] of change.add ?? []) tiles.set(key, { ...tiles.get(key), key, sequence, name, step, run, fate, words, made });
    arrange();
  };
  list.addEventListener("keydown", (event) => {
    const nodes = [...list.children], at = nodes.indexOf(document.activeElement);
    if (at < 0) return;
    const across = Math.max(1, nodes.filter((node) => node.offsetTop === nodes[0].offsetTop).length);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - across, ArrowDown: at + across, Home: 0, End: nodes.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const node = nodes[Math.max(0, Math.min(nodes.length - 1, to))];
    node.focus();
    select();
    go(tiles.get(Number(node.dataset.key)));
  });
  more.addEventListener("click", () => send(board, hand, "retention.more", { most: tiles.size + MORE }, more));

  // -- pictures
  const inView = new Set();
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) inView[isIntersecting ? "add" : "delete"](target);
    later();
  });
  let timer = 0;
  const later = () => { clearTimeout(timer); timer = setTimeout(draw, 120); };
  const draw = () => {
    if (!root.isConnected || root.closest("[data-unseen]")) return; // else it would ask, and nobody answer
    const near = [...inView].filter((node) => node.isConnected).map((node) => tiles.get(Number(node.dataset.key))).filter(Boolean);
    const whole = near.map(({ key }) => film.get(key)).filter((item) => item && item.low !== null && item.low !== undefined);
    let low = Math.min(...whole.map((item) => item.low)), high = Math.max(...whole.map((item) => item.high));
    for (const { key, node } of near) {
      const item = film.get(key);
      if (!item?.data) continue;
      if (item.kind === "diverging") { const far = Math.max(Math.abs(low), Math.abs(high)); low = -far; high = far; }
      const drawn = film.picture(key, mapFor(item.kind, root), low, high), { canvas } = node.rn;
      if (drawn && canvas.rnTint !== item.tint) {
        canvas.width = drawn.width;
        canvas.height = drawn.height;
        canvas.getContext("2d").drawImage(drawn, 0, 0);
        canvas.rnTint = item.tint;
      }
    }
    const wanted = near.filter((tile) => tile.fate !== "damaged").sort((a, b) => b.sequence - a.sequence).map(({ key }) => key);
    const { keys } = film.lacking({ pictures: wanted, values: [] });
    if (keys.length) tell(hand, "retention.pictures", { keys });
  };
  const takeFilm = () => film.take(model.get("film")).then((isNew) => { if (isNew) later(); });

  let wide = 0;
  const showForecast = () => drawForecast(picture, model.get("forecast"), scaleOfText());
  const scaleOfText = textScale(root, subscriptions, () => showForecast());
  const size = new ResizeObserver(() => { if (Math.abs(wide - root.clientWidth) > 8) { wide = root.clientWidth; showForecast(); } });
  size.observe(root);
  const flags = () => {
    const flags = board.get("flags");
    showFlag(check, flags["moment.check_all"], "Read every byte of every checkpoint of this actor");
    showFlag(fetchAll, flags["moment.download_all"], "This actor's checkpoints as one zip file");
  };
  subscriptions.on(model, "change:tiles", take);
  for (const name of ["actor", "count"]) subscriptions.on(model, `change:${name}`, arrange);
  subscriptions.on(model, "change:field", () => { film.clear(); later(); });
  subscriptions.on(model, "change:film", takeFilm);
  subscriptions.on(model, "change:forecast", showForecast);
  subscriptions.on(board, "change:playhead", select);
  subscriptions.on(board, "change:flags", flags);
  onThemeChange(subscriptions, later);
  subscriptions.every(5000, later); // a message may be lost
  subscriptions.atEnd(() => { seen.disconnect(); size.disconnect(); clearTimeout(timer); });
  showForecast();
  flags();
  tell(hand, "retention.all", {});
  take();
  takeFilm();
  return () => subscriptions.end();
}
VIEWS.sheet = render;
