// Shared by the widgets of ringnb's panels: board and hand of their session, and small DOM helpers. Values go
// into the page by textContent, never as HTML.
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
function setText(node, text) { if (node.textContent !== text) node.textContent = text; }
function setAttribute(node, name, value) { if (node.getAttribute(name) !== value) node.setAttribute(name, value); }
// Hides a node; a focus in it goes to another one, not to the page.
function hide(node, hidden, refuge) {
  const had = hidden && !node.hidden && node.contains(document.activeElement);
  node.hidden = hidden;
  if (had) refuge.focus();
}
// A set of subscriptions that end with the view.
function makeSubscriptions() {
  const stops = [];
  return {
    on(model, event, handler) { model.on(event, handler); stops.push(() => model.off(event, handler)); },
    every(ms, handler) { const timer = setInterval(handler, ms); stops.push(() => clearInterval(timer)); },
    end() { for (const stop of stops.splice(0)) stop(); },
    atEnd(stop) { stops.push(stop); },
  };
}
// How much larger texts are than they were written (a reader's browser may enlarge them alone), as a function; `onChange`
// is called when that changes. It is measured: what a style says of a size need not be what is drawn.
function textScale(root, subscriptions, onChange) {
  const text = make("i", { class: "rn-probe-text" }, "0"), box = make("i", { class: "rn-probe", "aria-hidden": "true" }, text);
  root.append(box);
  const size = new ResizeObserver(onChange);
  size.observe(text);
  subscriptions.atEnd(() => size.disconnect());
  return () => {
    const scale = text.getBoundingClientRect().height / (box.getBoundingClientRect().height || 1);
    return scale > 0 ? Math.max(1, Math.round(20 * scale) / 20) : 1;
  };
}
// The model that a view holds by reference: await part(model, "board"); the models of a list of references.
const part = (model, name) => modelOf(model, model.get(name));
const parts = (model, name) => Promise.all(model.get(name).map((reference) => modelOf(model, reference)));
async function modelOf(model, reference) {
  if (!reference) return null;
  return typeof reference === "string" ? await model.widget_manager.get_model(reference.replace("IPY_MODEL_", "")) : reference;
}
// Sends an action by the hand; while the kernel has not acknowledged it, `node` has the class "rn-wait".
// Where a front end has no thread beside the cells, the kernel receives it when the running cell has ended:
// then the board's message line says so. Returns the message's id. Where the playhead has come to is told before: what is
// sent acts on the step that is shown.
function send(board, hand, action, args = {}, node = null) {
  const rest = board.rnRest;
  board.rnRest = null; // its telling is sent by this, too
  rest?.();
  const id = Math.random().toString(36).slice(2);
  const pending = (board.rnPending ??= new Map());
  pending.set(id, { node, at: performance.now() });
  board.rnPressed = node;
  node?.classList.add("rn-wait");
  if (!board.rnWatched) {
    board.rnWatched = true;
    board.on("change:acknowledged", () => {
      takeHeard(board);
      board.trigger("rn:waiting");
    });
  }
  hand.send({ ...args, do: action, id });
  setTimeout(() => board.trigger("rn:waiting"), 1050);
  return id;
}
// Forgets what the kernel has heard. It tells the newest few only, and hears in the order of sending: what was sent
// before one of these was heard too.
function takeHeard(board) {
  const pending = board.rnPending ?? new Map(), heard = new Set(board.get("acknowledged")), ids = [...pending.keys()];
  for (const id of ids.slice(0, ids.findLastIndex((one) => heard.has(one)) + 1)) {
    pending.get(id).node?.classList.remove("rn-wait");
    pending.delete(id);
  }
}
// Whether the kernel has heard what was sent with an id.
function isHeard(board, id) {
  takeHeard(board);
  return !board.rnPending?.has(id);
}
// Sends what no user waits for: it is not said to wait.
function tell(hand, action, args) { hand.send({ ...args, do: action }); }
// Whether an action waits for longer than a second to be heard.
function isWaiting(board) {
  const now = performance.now();
  return [...(board?.rnPending?.values() ?? [])].some(({ at }) => now - at > 1000);
}
// How long ago the newest beat came, in seconds; to be called when one comes.
function heardFor(board) {
  const beat = board.get("beat"), now = performance.now();
  if (board.rnBeat !== beat) Object.assign(board, { rnBeat: beat, rnHeardAt: now });
  return (now - board.rnHeardAt) / 1000;
}
// How long nothing has come from the kernel, in seconds; 0 while something comes, or nothing is expected.
const SILENT_S = 3;
function silence(board) {
  const over = /^The (session|recorder) is closed|^The ensemble has ended/.test(board.get("life"));
  const s = heardFor(board);
  return over || s < SILENT_S ? 0 : Math.floor(s);
}
// Whether what is shown is old: nothing comes from the kernel, or to it from the process that has the session.
function isOld(board) { return silence(board) > 0 || board.get("unheard"); }
// When something is due, by default the next checkpoint, in words that change once a second; "" if nothing is. Moments are the
// beat's, the kernel's clock: the page's own may be set differently.
function dueIn(board, at = board.get("due_at")) {
  const s = at === null ? 0 : at - board.get("beat") - heardFor(board);
  return at === null ? "" : s > 1 ? `in ${Math.ceil(s)} s` : s > 0.05 ? "within 1 s" : "now";
}
// When the selected actor's next checkpoint is due, counted down; "" if nobody knows.
function nextDue(board) {
  const { words, counts } = board.get("next_checkpoint");
  return counts ? `${words} ${dueIn(board)}` : words;
}
// A page speaks one message in two seconds, by whichever of its live regions: how long it is silent yet, in milliseconds.
function untilQuiet(board) { return Math.max(0, (board.rnSpokeAt ?? -Infinity) + 2000 - performance.now()); }
// Speaks by a live region, when that is over. What is spoken is gone again: the text of a message is there once.
function speakIn(region, board, text) {
  board.rnSpokeAt = performance.now();
  region.textContent = text;
  setTimeout(() => { region.textContent = ""; }, 1500);
}
// Says something on this page only, without the kernel: why a button cannot be used.
function sayHere(board, text) {
  board.rnNote = { kind: "note", text, at: Date.now() / 1000, key: "here", count: 1, actions: [] };
  board.trigger("rn:note");
}
// Has a button show the flags of its action: disabled with the reason, pressed, another label.
function showFlag(button, flag, help) {
  setAttribute(button, "aria-disabled", flag?.disabled ? "true" : "false");
  if (flag?.pressed === undefined) button.removeAttribute("aria-pressed");
  else setAttribute(button, "aria-pressed", String(flag.pressed));
  const title = flag?.why ?? help;
  if (button.title !== title) button.title = title;
}
const ICONS = {
  done: "M2 8.5l2-2 3 3L13.5 3l1.6 1.8L7 13z",
  waiting: "M3 1h10v2L9.5 8l3.5 5v2H3v-2l3.5-5L3 3zm2 1.5L8 7l3-4.5z",
  note: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zm-.9 2.7h1.8v1.8H7.1zm0 3.1h1.8v5H7.1z",
  warning: "M8 1l7.5 13.5H.5zm-.8 4.6v4.6h1.7V5.6zm0 5.6v1.7h1.7v-1.7z",
  problem: "M5 1h6l4 4v6l-4 4H5l-4-4V5zm2.1 2.6v5.6h1.8V3.6zm0 7v1.8h1.8v-1.8z",
  stage: "M6 6h4v4H6z",
  close: "M3.5 2L8 6.5 12.5 2 14 3.5 9.5 8l4.5 4.5-1.5 1.5L8 9.5 3.5 14 2 12.5 6.5 8 2 3.5z",
  list: "M1 3h2v2H1zM5 3h10v2H5zM1 7h2v2H1zM5 7h10v2H5zM1 11h2v2H1zM5 11h10v2H5z",
};
// An icon beside words, or in a button that has a name.
function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 16 16", fill: "currentColor", "fill-rule": "evenodd", "aria-hidden": "true", class: "rn-ic" })) svg.setAttribute(key, value);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name] ?? name);
  svg.append(path);
  return svg;
}
// JupyterLab's shortcuts match the focused element itself: an attribute further up comes too late.
function keepShortcutsAway(root) {
  for (const node of root.querySelectorAll("button, input, select, textarea, summary, a[href], [tabindex]"))
    setAttribute(node, "data-lm-suppress-shortcuts", "true");
}
// Whether a change of the page has brought what a selector finds: most are of numbers and of drawings, many a second.
function brings({ target, addedNodes }, what) {
  if (target instanceof SVGElement) return false;
  return [...addedNodes].some((node) => node instanceof HTMLElement && (node.matches(what) || node.querySelector(what)));
}
// Whether Enter was pressed: once, and not to choose among what an input method offers.
const isEnter = (event) => event.key === "Enter" && !event.repeat && !event.isComposing;
// Has a field's value taken when it is left, and by Enter: JupyterLab keeps that key from making a change.
function onEntered(input, take) {
  let entered = null;
  let before = "";
  input.addEventListener("focus", () => { before = input.value; entered = null; });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && input.value !== before) {
      event.stopPropagation(); // it does nothing else
      input.value = entered = before; // nothing is taken
    }
    if (event.key !== "Enter") return;
    before = input.value;
    event.stopPropagation();
    entered = input.value;
    take();
  });
  input.addEventListener("change", () => {
    if (input.value !== entered) take();
    before = input.value;
    entered = null;
  });
}
