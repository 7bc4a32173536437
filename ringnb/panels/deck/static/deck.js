// The deck: the transport above, the line of steps below. Its parts: transport.js, line.js, drawing.js.
const MOST_LANES = 5;
const UNSENT = "is not sent yet"; // in place of a message's id

async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const [board, hand] = [await part(model, "board"), await part(model, "hand")];
  const root = make("div", { class: "rn-timeline" });
  const marks = makeMarks();
  const film = makeFilm();
  const state = {
    lanes: [], leaf: 0, step: 0, name: "", follows: true, // where the playhead is
    key: 0, // of the mark that was chosen among those of this step, if one was
    origin: 0, reach: 100, all: false, // the line: from `origin` on `reach` steps; `all`: from step 0 on
    low: 0, zoom: 1, // what is seen of it: from step `low` on, `reach / zoom` steps
    playing: 0, moved: 0, slot: null,
  };
  const live = () => state.lanes.find((lane) => lane.live);
  const way = () => wayOf(state.lanes, state.leaf);
  const nearest = () => {
    const chosen = marks.get(state.key);
    return chosen && chosen.step === state.step && isSound(chosen) ? chosen : nearestOf(marks, way(), state.step);
  };
  const nothing = () => !marks.size || !nearest();
  // Where the playhead is by name, as is shown: what is done from there acts on that, or on nothing.
  const isMoved = () => state.moved === UNSENT || Boolean(state.moved && !isHeard(board, state.moved));
  const here = () => (isMoved() || !state.name ? {} : { name: state.name });
  const ask = (action, args = {}, node = null) => send(board, hand, action, args, node);

  // -- the playhead ------------------------------------------------------------------------------
  // What it passes over is told every so often, with the picture that has come, and not acknowledged; where it comes to
  // rest is told like anything else that is done, at the latest before anything else is; while the pointer is down
  // not sooner than what it passes over would be.
  let sent = -Infinity, sending = 0, resting = 0, rests = false;
  const where = () => {
    const came = board.rnCame;
    [sent, sending, board.rnCame] = [performance.now(), 0, undefined];
    return { lane: state.leaf, step: state.step, key: state.key || undefined, came };
  };
  const forgetRest = () => { if (board.rnRest === tellRest) board.rnRest = null; }; // it may be another deck's
  const tellRest = () => {
    clearTimeout(sending);
    forgetRest();
    state.moved = ask("look.to", where());
  };
  const tellPlayhead = () => {
    if (board.rnRest !== tellRest) board.rnRest?.(); // of another deck of this session, which was moved before this one
    const wait = sent + model.get("drag_ms") - performance.now();
    clearTimeout(resting);
    rests = false;
    resting = setTimeout(() => {
      rests = true;
      speak();
      if (state.moved !== UNSENT || sending && board.rnDragged) return;
      if (board.rnDragged) sending = setTimeout(tellRest, Math.max(0, sent + model.get("drag_ms") - performance.now()));
      else tellRest();
    }, REST_MS);
    if (wait <= 0 && state.moved !== UNSENT) { tellRest(); return; }
    state.moved = UNSENT; // so that no answer to what was sent before takes the playhead back
    board.rnRest = tellRest;
    if (!sending) sending = setTimeout(() => { if (rests) tellRest(); else tell(hand, "look.to", { ...where(), passes: true }); }, wait);
  };
  const tellNothing = () => {
    clearTimeout(sending);
    clearTimeout(resting);
    sending = 0;
    forgetRest();
    tellCame();
  };
  const tellCame = () => {
    if (board.rnRest || board.rnCame === undefined) return; // the next place takes it along
    tell(hand, "stage.came", { came: board.rnCame }); // the next picture waits for it
    board.rnCame = undefined;
  };
  const release = () => { if (state.moved === UNSENT) tellRest(); else tellCame(); };
  const moveTo = (step, leaf = state.leaf, key = 0) => {
    const lane = state.lanes.find((one) => one.n === leaf);
    if (!lane || nothing()) return;
    const end = lane.last;
    notePress();
    state.leaf = leaf;
    const first = neighbour(marks, wayOf(state.lanes, leaf), -1, 1, isSound).step; // before it nothing is kept
    state.step = Math.round(Math.max(first, Math.min(step, end)));
    state.follows = false;
    state.name = "";
    state.key = key;
    bringIntoView(state.step);
    drawPlayhead();
    tellPlayhead();
  };
  const toMark = (by) => {
    const mark = nextOf(marks, way(), state.step, nearest(), by);
    if (mark) moveTo(mark.step, state.leaf, isSound(mark) ? mark.key : 0);
    return Boolean(mark);
  };
  const pressMark = (by) => {
    if (!toMark(by)) sayHere(board, by < 0 ? "Earlier mark: there is none before this" : "Later mark: there is none after this");
  };
  const toFirst = () => { const first = neighbour(marks, way(), -1, 1, isSound); if (first) moveTo(first.step, state.leaf, soundAt(marks, way(), first.step)[0].key); };
  const toNewest = () => {
    halt();
    notePress();
    tellNothing();
    state.moved = ask("look.newest", {}, transport.node("look.newest"));
  };
  const hop = (by) => {
    const { shown } = folded();
    const at = shown.findIndex((lane) => lane.n === state.leaf) + by;
    if (shown[at]) moveTo(Math.min(Math.max(state.step, shown[at].first), shown[at].last), shown[at].n);
  };
  const askMovie = (node) => ask("moment.movie", { lane: state.leaf, low: state.low, high: state.low + state.reach / state.zoom, colours: board.rnColours }, node);
  const halt = () => { clearInterval(state.playing); state.playing = 0; transport.showPlaying(false); };
  const play = () => {
    if (state.playing) return halt();
    if (!nextOf(marks, way(), state.step, nearest(), 1)) toFirst();
    const apart = Math.max(400, 1.2 * model.get("drag_ms")); // so that each is told once, as a place of rest
    state.playing = setInterval(() => { if (!toMark(1)) halt(); }, apart);
    transport.showPlaying(true);
  };
  const takePlayhead = () => {
    const head = board.get("playhead");
    // What this page has moved since is newer than what the kernel says.
    if (isMoved()) return;
    if (drawing.dragged()) return;
    state.follows = Boolean(head.follows);
    state.name = head.name ?? "";
    const shown = model.get("shown");
    if (shown.name === state.name) state.key = shown.key; // else it was read at another moment than the playhead
    const lane = state.lanes.find((one) => (head.lane ? one.n === head.lane : one.run === head.run)) ?? live();
    if (lane && lane.n !== state.leaf) { state.leaf = lane.n; later(); } // its row, and the pictures of its way
    if (head.step >= 0) state.step = head.step;
    if (state.follows) bringIntoView(state.step);
    drawPlayhead();
    clearTimeout(resting);
    resting = setTimeout(speak, REST_MS);
  };
  const spoken = () => {
    if (nothing()) return "nothing stored";
    const lane = laneAt(way(), state.step);
    const at = `step ${words(state.step)} of run ${lane?.n ?? "?"}${lane?.name ? ` (${lane.name})` : ""}`;
    const near = nearest();
    if (!near || near.step === state.step) return `${at}${state.name ? `, stored as ${state.name}` : ", stored"}`;
    return `${at}, not stored: the nearest is ${state.name || `step ${words(near.step)}`}`;
  };
  // Who has moved it with a button is not at the line, whose value it is: it is told where that led, once.
  const told = make("div", { class: "rn-sr", role: "status" });
  let pressed = false, telling = 0;
  const tellWhere = () => {
    clearTimeout(telling);
    const wait = untilQuiet(board);
    if (wait) telling = setTimeout(tellWhere, wait);
    else speakIn(told, board, spoken());
  };
  const notePress = () => { pressed = !state.playing && root.querySelector(".rn-look").contains(document.activeElement); };
  const speak = () => {
    drawing.speak(spoken(), state.step, live()?.last ?? state.step);
    if (pressed) tellWhere();
    pressed = false;
  };

  // -- what is seen ------------------------------------------------------------------------------
  const end = () => Math.max(100, ...state.lanes.map((lane) => lane.last));
  const bringIntoView = (step) => {
    const span = state.reach / state.zoom;
    if (step < state.low || step > state.low + span) pan(step - span / 2);
  };
  const zoomBy = (factor, at = state.step) => {
    if (factor < 1 && state.zoom <= 1) state.all = true;
    else if (state.all) { state.all = false; reachOut(); return later(); }
    const span = state.reach / state.zoom, part = Math.max(0, Math.min(1, (at - state.low) / span));
    state.zoom = Math.max(1, Math.min(state.zoom * factor, state.reach / 10));
    pan(at - (part * state.reach) / state.zoom);
  };
  const pan = (low) => {
    state.low = inside(low);
    later();
  };
  const inside = (low) => Math.max(state.origin, Math.min(low, state.origin + state.reach - state.reach / state.zoom));
  const firstKept = () => {
    const kept = Math.min(...state.lanes.map((lane) => marks.ofLane(lane.n).find((mark) => mark.kind === CHECKPOINT)?.step ?? Infinity));
    if (state.all || kept === Infinity) return 0;
    return Math.min(end(), state.follows ? Infinity : state.step, kept);
  };
  const reachOut = () => {
    const { origin, reach } = stretchOf(state, firstKept(), end(), Boolean(live()?.running));
    if (origin === state.origin && reach === state.reach) return false;
    Object.assign(state, { origin, reach });
    state.low = inside(state.low);
    return true;
  };
  const folded = () => {
    const keep = [...way(), ...wayOf(state.lanes, live()?.n ?? 0)].map((one) => one.lane);
    return foldOf(state.lanes, keep, MOST_LANES);
  };

  // -- drawing -----------------------------------------------------------------------------------
  let frame = 0;
  const later = () => { if (!frame) frame = requestAnimationFrame(() => { frame = 0; draw(); }); };
  const draw = () => {
    if (!root.isConnected) return;
    reachOut();
    const near = nothing() ? null : nearest();
    drawing.draw({ state, marks, film, way: way(), near: near?.step === state.step ? near : null, live: live(), ...folded() });
    drawPlayhead();
    wish();
  };
  const drawPlayhead = () => {
    const near = nothing() ? null : nearest();
    drawing.playhead({ state, lane: laneAt(way(), state.step), near, nothing: nothing() });
    transport.show({ state, flags: board.get("flags"), nothing: nothing(), zoomed: state.zoom > 1 });
  };
  // Small pictures, and values of the trace, that the line would show and the page does not have.
  let wishing = 0;
  const wish = () => {
    clearTimeout(wishing);
    wishing = setTimeout(() => {
      if (!root.isConnected || !root.checkVisibility() || root.closest("[data-unseen]")) return;
      const { keys, traces } = film.lacking(drawing.wanted());
      if (keys.length || traces.length) tell(hand, "look.film", { keys, traces });
    }, REST_MS);
  };

  const actions = { moveTo, pressMark, toFirst, toNewest, hop, play, halt, zoomBy, pan, ask, state, marks, film, way, folded, spoken, later, askMovie, release, here, fieldName: () => model.get("traced") };
  const transport = makeTransport(root, board, actions);
  const drawing = makeDrawing(root, board, actions, subscriptions);
  root.append(told);
  el.append(root);

  // -- what comes from the kernel ----------------------------------------------------------------
  const takeMarks = () => {
    if (!marks.take(model.get("marks"))) tell(hand, "look.marks", {});
    later();
  };
  const takeLanes = () => {
    state.lanes = model.get("lanes").map((lane) => ({ ...lane }));
    if (!state.lanes.some((lane) => lane.n === state.leaf)) state.leaf = live()?.n ?? 0;
    takeActor();
    takePlayhead();
    later();
  };
  const takeActor = () => {
    const actor = board.get("actor"), lane = live();
    if (state.slot !== actor.slot) { halt(); tellNothing(); Object.assign(state, { slot: actor.slot, moved: 0, all: false, zoom: 1 }); }
    if (!lane) return;
    lane.base ??= lane.last;
    Object.assign(lane, { running: Boolean(actor.running), ended: board.get("life") !== "running" });
    if (model.get("slot") === actor.slot && actor.step !== undefined) {
      lane.edge = actor.step;
      lane.last = Math.max(lane.base, actor.step);
    }
    if (reachOut()) later();
    else drawing.liveEdge(lane);
  };
  const takeFilm = () => film.take(model.get("film")).then((isNew) => { if (isNew) later(); });
  for (const [name, take] of [["marks", takeMarks], ["lanes", takeLanes], ["film", takeFilm]]) subscriptions.on(model, `change:${name}`, take);
  subscriptions.on(model, "change:about", () => drawing.showAbout(model.get("about")));
  subscriptions.on(model, "change:actors", () => transport.showActors(model.get("actors")));
  subscriptions.on(model, "change:field", () => { film.clear(); later(); }); // its pictures come when asked for
  subscriptions.on(model, "change:traced", later);
  for (const name of ["actor", "life"]) subscriptions.on(board, `change:${name}`, takeActor);
  for (const name of ["playhead", "acknowledged"]) subscriptions.on(board, `change:${name}`, takePlayhead);
  subscriptions.on(model, "change:shown", takePlayhead);
  subscriptions.on(board, "change:flags", drawPlayhead);
  onThemeChange(subscriptions, later);
  subscriptions.every(5000, wish); // another page's wishes may have taken the place of these
  const size = new ResizeObserver(later);
  size.observe(root);
  subscriptions.atEnd(() => { size.disconnect(); halt(); tellNothing(); for (const timer of [wishing, telling]) clearTimeout(timer); cancelAnimationFrame(frame); });
  transport.showActors(model.get("actors"));
  takeMarks();
  takeLanes();
  takeFilm();
  takePlayhead();
  keepShortcutsAway(root);
  return () => subscriptions.end();
}
VIEWS.deck = render;
