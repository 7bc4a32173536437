// The head of a cockpit. The tabs only show and hide: message line and deck stay where they are.
const TABS = { explore: "Explore", keep: "Keep", learn: "Learn" };
const SHAPES = { run: "M4 2l10 6-10 6z", pause: "M3.5 2h3v12h-3zM9.5 2h3v12h-3z", grid: "M1 1h4v4H1zM6 1h4v4H6zM11 1h4v4h-4zM1 6h4v4H1zM6 6h4v4H6zM11 6h4v4h-4zM1 11h4v4H1zM6 11h4v4H6zM11 11h4v4h-4z", shield: "M8 1l6 2v5c0 4-3 6-6 7-3-1-6-3-6-7V3zm0 1.7L3.6 4.1V8c0 3 2 4.5 4.4 5.4C10.4 12.5 12.4 11 12.4 8V4.1z", host: "M1.5 2h13v9.5H9v2h2.5V15h-7v-1.5H7v-2H1.5zM3 3.5V10h10V3.5z" };
function logo() {
  const svg = icon("");
  svg.setAttribute("viewBox", "0 0 22 22");
  svg.setAttribute("class", "rn-logo");
  svg.replaceChildren();
  for (let i = 0; i < 10; i++) {
    const a = (i / 10) * 2 * Math.PI - Math.PI / 2, b = a + 0.42;
    const at = (r, t) => `${(11 + r * Math.cos(t)).toFixed(2)} ${(11 + r * Math.sin(t)).toFixed(2)}`;
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", `M${at(10, a)}A10 10 0 0 1 ${at(10, b)}L${at(6, b)}A6 6 0 0 0 ${at(6, a)}z`);
    path.setAttribute("class", i < 3 ? "rn-lit" : "");
    svg.append(path);
  }
  return svg;
}
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const [board, hand] = [await part(model, "board"), await part(model, "hand")];
  const own = Math.random().toString(36).slice(2);
  el.classList.add("rn-head");

  // -- tabs
  const tabs = make("div", { class: "rn-seg", role: "tablist", "aria-label": "What for" });
  const buttons = Object.entries(TABS).map(([key, label]) => make("button", { type: "button", role: "tab", "data-tab": key, id: `rn-tab-${key}-${own}` }, label));
  tabs.append(...buttons);
  let tab = board.rnTab ?? "explore", root = null;
  const showTab = () => {
    for (const button of buttons) {
      const on = button.dataset.tab === tab;
      setAttribute(button, "aria-selected", String(on));
      setAttribute(button, "tabindex", on ? "0" : "-1");
    }
    if (root) root.dataset.tab = tab; // the message line tells the kernel
  };
  const choose = (key) => {
    tab = board.rnTab = key;
    showTab();
    root?.dispatchEvent(new CustomEvent("rn-tab")); // what lies over the stage would hide it
    buttons.find((button) => button.dataset.tab === key).focus();
  };
  tabs.addEventListener("click", (event) => { const key = event.target.closest("[data-tab]")?.dataset.tab; if (key) choose(key); });
  tabs.addEventListener("keydown", (event) => {
    const keys = Object.keys(TABS), at = keys.indexOf(tab);
    const to = { ArrowLeft: at + 2, ArrowRight: at + 1, Home: 0, End: keys.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(keys[to % keys.length]);
  });

  // -- the actor
  const actors = make("label", { class: "rn-nowrap" }, "Actor ");
  const listed = model.get("actors"), last = model.get("last");
  const chooser = listed.length
    ? make("select", { "aria-label": "Actor" }, ...listed.map(([slot, id]) => make("option", { value: String(slot) }, `${slot}: ${id}`)))
    : make("input", { type: "number", min: "0", max: String(last), step: "1", "aria-label": `Actor, 0 to ${last.toLocaleString("en-US")}` });
  actors.append(chooser);
  if (!listed.length) actors.append(make("span", { class: "rn-soft" }, ` of ${(last + 1).toLocaleString("en-US")}`));
  chooser.addEventListener("change", () => {
    const slot = Math.max(0, Math.min(last, Math.round(Number(chooser.value)) || 0));
    chooser.value = String(slot);
    send(board, hand, "actor.choose", { slot }, chooser);
  });
  const all = make("button", { type: "button", class: "rn-b rn-small", "aria-expanded": "false" }, icon(SHAPES.grid), make("span", {}, last < 24 ? "All actors" : "Map"));
  all.hidden = last === 0;
  all.addEventListener("click", () => el.dispatchEvent(new CustomEvent("rn-all", { bubbles: true, detail: { button: all } })));

  // -- its state
  const pill = make("span", { class: "rn-pill rn-state" }), step = make("b", { class: "rn-num rn-step" }), rate = make("span", { class: "rn-soft rn-num rn-nowrap rn-rate" }), time = make("span", { class: "rn-soft rn-num rn-nowrap rn-simulated" });
  const guard = make("button", { type: "button", class: "rn-pill rn-guard" }), place = make("span", { class: "rn-place" }, icon(SHAPES.host));
  const where = make("span");
  place.append(where);
  guard.addEventListener("click", () => {
    const { bad, guard: mode } = board.get("actor");
    if (bad) send(board, hand, "look.to", { name: bad }, guard);
    else sayHere(board, mode === "off" ? "The guard is off: nobody looks whether values are finite" : `Every checkpoint is looked at: all values are finite${board.get("actor").more ? ", and your own rules hold" : ""}`);
  });
  const stateOf = (actor) => {
    if (isOld(board)) return ["old", "waiting", "No contact"];
    if (board.get("life") !== "running") return ["bad", "problem", "Ended"];
    if (actor.stopped) return ["bad", SHAPES.pause, "Stopped by the crank"];
    return actor.running ? ["run", SHAPES.run, "Running"] : ["", SHAPES.pause, "Standing"];
  };
  const fill = (node, look, shape, words) => {
    setAttribute(node, "data-look", look);
    if (node.dataset.words === words) return;
    node.dataset.words = words;
    node.replaceChildren(icon(shape), words);
  };
  const show = () => {
    const actor = board.get("actor");
    if (actor.slot === undefined) return;
    const [look, shape, words] = stateOf(actor);
    fill(pill, look, shape, words);
    setText(step, actor.step.toLocaleString("en-US"));
    setText(time, actor.time ?? "");
    setText(rate, look === "old" ? "" : `${(look === "run" ? actor.rate : 0).toLocaleString("en-US")} steps/s`); // what goes on there, nobody knows
    if (document.activeElement !== chooser) chooser.value = String(actor.slot);
    const [good, bad] = actor.more ? ["Good", "Not good"] : ["All finite", "Not finite"]; // a user's own rules, too
    if (actor.bad) fill(guard, "bad", "problem", bad);
    else fill(guard, "", SHAPES.shield, actor.guard === "off" ? "Guard off" : good);
    const title = actor.bad ? `${actor.bad} is not good: press to look at it` : "Every checkpoint is looked at";
    if (guard.title !== title) guard.title = title;
    setText(where, board.get("backend"));
  };
  for (const name of ["actor", "life", "backend", "unheard"]) subscriptions.on(board, `change:${name}`, show);
  subscriptions.every(1000, show);
  // Heard, not seen, and before the headings of what is below: a page has its own above it.
  el.append(make("h2", { class: "rn-sr" }, "ringnb cockpit"), logo(), tabs, actors, all, make("span", { class: "rn-steps" }, make("span", { class: "rn-now" }, pill, make("span", { class: "rn-soft" }, "step"), step, rate), time), guard, make("span", { class: "rn-grow" }), place);

  // -- the grid: names of its parts, which come one after the other
  const nameParts = () => {
    for (const [key, label] of Object.entries(model.get("parts"))) {
      for (const node of root.querySelectorAll(`.rn-in-${key}:not([role])`)) {
        node.setAttribute("role", "group");
        node.setAttribute("aria-label", label);
        node.setAttribute("data-ringnb-panel", key);
      }
    }
    for (const button of buttons) {
      const panel = root.querySelector(`.rn-stage > .rn-tab-${button.dataset.tab}:not([role])`);
      if (!panel) continue;
      panel.id = `rn-panel-${button.dataset.tab}-${own}`;
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", button.id);
      button.setAttribute("aria-controls", panel.id);
    }
    const side = root.querySelector(".rn-side:not([role])");
    side?.setAttribute("role", "group");
    side?.setAttribute("aria-label", "Controls");
  };
  let tries = 0;
  const adopt = () => {
    root = el.closest(".rn-cockpit");
    if (!root) {
      if (tries++ < 200) setTimeout(adopt, 25);
      return;
    }
    const observer = new MutationObserver((changes) => {
      // The class of a part may be set after it was put in.
      if (changes.some((one) => brings(one, ".jupyter-widgets") || (one.type === "attributes" && one.target.matches(".jupyter-widgets")))) nameParts();
    });
    observer.observe(root, { childList: true, subtree: true, attributes: true, attributeFilter: ["class"] });
    subscriptions.atEnd(() => observer.disconnect());
    nameParts();
    keepShortcutsAway(el);
    showTab();
    show();
  };
  showTab();
  show();
  adopt();
  return () => subscriptions.end();
}
VIEWS.head = render;
