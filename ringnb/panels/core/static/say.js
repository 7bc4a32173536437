// The message line of a panel, and the history that opens from it. In a panel within another one it shows
// nothing: what is said is said once, in the line of the outermost. It also gives the panel's root a role and a
// name, keeps JupyterLab's shortcuts away from it, and names what ipywidgets leaves without a name.
const WORDS = { done: "Done", waiting: "Waiting", note: "Note", warning: "Warning", problem: "Problem" };
const PARTS = { everything: "Everything", problems: "Problems", milestones: "Milestones", stages: "Every stage" };
function nameControls(root) {
  keepShortcutsAway(root);
  for (const handle of root.querySelectorAll(".noUi-handle")) {
    const label = handle.closest(".widget-slider")?.querySelector(".widget-label");
    if (label && !handle.hasAttribute("aria-label")) handle.setAttribute("aria-label", label.textContent);
  }
  for (const node of root.querySelectorAll('[title="null"], [title=""]')) node.removeAttribute("title");
  for (const node of root.querySelectorAll(".widget-radio-box, .widget-toggle-buttons")) {
    const label = node.closest(".jupyter-widgets")?.querySelector(".widget-label");
    if (label && !node.hasAttribute("role")) {
      node.setAttribute("role", "radiogroup");
      node.setAttribute("aria-label", label.textContent);
    }
  }
  for (const node of root.querySelectorAll("input, select, textarea")) {
    // A label that is not shown is none.
    const named = [...node.labels ?? []].some((one) => one.contains(node) || one.checkVisibility()) || node.hasAttribute("aria-label");
    if (named && node.dataset.rnNamed === undefined) continue;
    const label = node.closest(".jupyter-widgets")?.querySelector(".widget-label, .widget-label-basic");
    if (!label?.textContent) continue;
    node.dataset.rnNamed = "";
    setAttribute(node, "aria-label", label.textContent); // which may have changed since
  }
}
// What `nameControls` looks for; a label's text may change, too, and whether it is shown.
const NAMED = 'button, input, select, textarea, summary, a[href], [tabindex], h3, .noUi-handle, .widget-label, .widget-radio-box, .widget-toggle-buttons, [title="null"], [title=""]';
function bringsControls(change) {
  const { type, target } = change;
  if (type === "attributes") return target instanceof HTMLElement;
  return target.matches(".widget-label, .widget-label-basic") || brings(change, NAMED);
}
const MOST_SAID = 200; // are known to have been spoken
const clock = (at) => new Date(at * 1000).toTimeString().slice(0, 8);
function ageOf(at) {
  const s = Date.now() / 1000 - at;
  if (s < 2) return "now";
  if (s < 60) return `${Math.floor(s)} s ago`;
  return s < 3600 ? `${Math.floor(s / 60)} min ago` : clock(at);
}
// While nothing comes from the kernel, what would act there is off; what the page holds can be looked at.
function switchOff(board, silent) {
  if (silent && !board.rnFlags) {
    const why = "No sign of life: nothing would be heard";
    board.rnFlags = board.get("flags");
    const off = Object.entries(board.rnFlags).map(([name, flag]) => [name, /^(look|stage)\./.test(name) ? flag : { ...flag, disabled: true, why }]);
    board.set("flags", Object.fromEntries(off));
  } else if (!silent && board.rnFlags) {
    board.set("flags", board.rnFlags);
    board.rnFlags = null;
  }
}
// What the line says: silence, then what waits, then what the user has just done, then what is open, then what can
// still be undone: a commit that follows by itself does not take that away, nor does a note of this page: why a button cannot
// be used is asked when what would mend it is wanted.
function choose(board, beats, hidden) {
  const silent = beats ? silence(board) : 0;
  if (silent) return { kind: "problem", key: "silent", count: 1, actions: [], text: `No sign of life for ${silent} s: what is shown is old. The notebook's kernel was restarted or has died: run the cells again; or it is not connected` };
  if (isWaiting(board)) return { kind: "waiting", key: "waiting", count: 1, actions: [], text: "Not heard yet: controls apply after the running cell" };
  const messages = board.get("messages").filter((m) => !(m.open && hidden.has(`${m.key} ${m.at}`)));
  const newest = messages.at(-1), now = Date.now() / 1000, note = board.rnNote;
  const asked = messages.filter((m) => !m.byItself).at(-1);
  const open = messages.filter((m) => m.open).at(-1);
  if (note && now - note.at < 8 && !(asked && asked.at > note.at)) {
    const under = open ?? (asked && now - asked.at < 60 ? asked : null);
    return { ...note, actions: under && !isQuestion(under) ? asSaid(board, under).actions : [] };
  }
  // What can be undone stays long enough to reach its button; what has come up since goes first.
  if (asked && now - asked.at < (asked.actions.length ? 20 : 4) && !(open?.count === 1 && open.at > asked.at)) return asked;
  if (open) return open;
  if (asked?.actions.length && now - asked.at < 60) return asked;
  return newest ?? { kind: "note", key: "nothing", count: 1, actions: [], text: "Nothing happened yet" };
}
// Whether a message asks: one of its answers changes nothing.
const isQuestion = (m) => Boolean(m.open && m.actions.some(([action]) => action === "say.dismiss"));
// How it is said: what is settled is no problem any more, and when the first checkpoint is due counts.
function asSaid(board, m) {
  if (m.settled) return { ...m, kind: "done", actions: [], text: `It is over (${m.settled}): ${m.text}` };
  const due = m.key === "first" && board.get("next_checkpoint").none ? nextDue(board) : "";
  return due ? { ...m, shown: `Nothing is stored yet: ${due}` } : m;
}
// By what a message is known to have been spoken. What is tried again by itself is counted, not spoken at each try, nor when what
// has covered it goes.
function spokenAs(m) {
  const which = m.again == null ? `${m.count} ${m.at}` : m.since;
  return `${m.key} ${m.kind} ${which} ${m.key === "silent" ? "" : m.text}`;
}
// Whether it is not to be spoken: the line has come back to it, when what hid it went, or to nothing at all; it was read with the
// focus that it took; or nobody has asked for it, and it goes on like this.
function isKnown(board, m) {
  if (m.key === "nothing" || board.rnRead === `${m.key} ${m.at}`) return true;
  return (m.at !== undefined && board.rnSaid?.has(spokenAs(m))) || (m.kind === "done" && m.byItself && !m.settled);
}
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const [board, hand] = [await part(model, "board"), await part(model, "hand")];
  const beats = model.get("beats"), stays = model.get("stays"), name = model.get("name");
  const title = make("h2", {}, model.get("title"));
  const words = document.createTextNode(""), again = make("span", { class: "rn-again" });
  const kind = make("span", { class: "rn-kind" }), text = make("span", { class: "rn-text", id: `rn-text-${Math.random().toString(36).slice(2)}` }, words, again), age = make("span", { class: "rn-age" });
  const acts = make("span", { class: "rn-acts", role: "group", "aria-label": "For this message", "aria-keyshortcuts": "F6" });
  acts.addEventListener("keydown", (event) => { // a question is put aside by what changes nothing
    if (event.key !== "Escape" || !isQuestion(shown)) return;
    event.stopPropagation();
    acts.lastElementChild.click();
  });
  const dismiss = make("button", { type: "button", class: "rn-b rn-small rn-ghost", "aria-label": "Dismiss this message", title: "Dismiss this message" }, icon("close"));
  const count = make("span", { class: "rn-count" });
  const toggle = make("button", { type: "button", class: "rn-b rn-small", "aria-expanded": "false" }, icon("list"), make("span", {}, "History"), " ", count);
  const polite = make("div", { class: "rn-sr", role: "status", "aria-live": "polite" });
  const alert = make("div", { class: "rn-sr", role: "alert", "aria-live": "assertive" });
  const line = make("div", { class: "rn-say" }, kind, text, age, acts, dismiss, toggle);
  const log = make("div", { class: "rn-log", role: stays ? "group" : "dialog", "aria-label": "History of messages and events" });
  el.append(title, line, log, polite, alert);
  el.classList.add("rn-saybox");

  // -- the line
  let root = null; // the panel's, once that is on the page
  const hidden = new Set(); // dismissed here, and perhaps not yet in the kernel
  let drawn = "", shown = null;
  let question = "", opener = null; // that was asked last, and the button whose press it answers
  const showLine = () => {
    const m = asSaid(board, choose(board, beats, hidden));
    shown = m;
    root?.toggleAttribute("data-old", m.key === "silent" || board.get("unheard"));
    switchOff(board, m.key === "silent");
    setAttribute(line, "data-kind", m.kind);
    setText(age, m.key === "silent" || m.key === "waiting" || m.key === "nothing" ? "" : ageOf(m.at));
    const due = m.open ? dueIn(board, m.again ?? null) : ""; // not spoken: it changes each second
    setText(words, due ? `${m.text} ` : m.shown ?? m.text);
    setText(again, due);
    again.hidden = !due;
    hide(dismiss, !m.open, toggle);
    const open = board.get("messages").filter((one) => one.open).length;
    setText(count, open ? `${open} open` : "");
    setAttribute(count, "data-bad", String(open > 0));
    const asks = isQuestion(m);
    const what = JSON.stringify([m.kind, m.count, m.key, m.actions, root === null]);
    const tabOf = (args) => root?.querySelector(`.rn-head [role=tab][data-tab="${args.tab}"]`); // none in a panel alone
    if (what !== drawn) {
      drawn = what;
      const had = acts.contains(document.activeElement) && document.activeElement.dataset.action;
      kind.replaceChildren(icon(m.kind), WORDS[m.kind] + (m.count > 1 ? ` ×${m.count}` : ""));
      const usable = (m.actions ?? []).filter(([action, , args]) => action !== "page.tab" || tabOf(args));
      acts.replaceChildren(...usable.map(([action, label, args], at) => {
        const button = make("button", { type: "button", class: `rn-b rn-small${at ? "" : " rn-main"}`, ...(asks && { "aria-describedby": text.id }), "data-action": action.split(".").at(-1) }, label);
        button.addEventListener("click", () => {
          const flag = board.get("flags")[action];
          if (action === "page.tab") { tabOf(args).click(); tabOf(args).focus(); }
          else if (flag?.disabled) sayHere(board, `${label}: ${flag.why}`);
          else send(board, hand, action, args ?? {}, button);
          if (asks && action === "say.dismiss") sayHere(board, `${label}: nothing is changed`);
        });
        return button;
      }));
      keepShortcutsAway(acts);
      const back = asks ? null : opener;
      if (!asks) opener = null;
      if (had) (back?.checkVisibility() ? back : acts.querySelector(`[data-action="${had}"]`) ?? acts.querySelector("button") ?? toggle).focus();
    }
    // A question takes the focus of whoever it is put to, on what changes nothing; the line may be far from the button.
    if (asks && question !== `${m.key} ${m.at}`) {
      question = `${m.key} ${m.at}`;
      if (root?.contains(board.rnPressed) && board.rnPressed === document.activeElement) {
        opener = board.rnPressed;
        acts.lastElementChild.focus();
        board.rnRead = question;
      }
    }
    announce(m);
  };
  // Spoken by one view of a page.
  const announce = (m) => {
    if (!root) return;
    if (!board.rnSpeaker?.isConnected) board.rnSpeaker = el;
    const id = spokenAs(m);
    if (board.rnSpeaker !== el || board.rnSpoken === id) return;
    const first = board.rnSpoken === undefined;
    if (untilQuiet(board)) return; // the timer comes back to it
    board.rnSpoken = id;
    const known = isKnown(board, m);
    const said = (board.rnSaid ??= new Set());
    said.add(id);
    if (said.size > MOST_SAID) said.delete(said.values().next().value);
    if (known || (first && m.kind !== "problem")) return; // what was there when the page opened
    const offers = [...acts.children].map((button) => button.textContent).join(", ");
    speakIn(m.kind === "problem" ? alert : polite, board, `${WORDS[m.kind]}: ${m.text}${offers && `. Offered at F6: ${offers}`}`);
  };
  dismiss.addEventListener("click", () => {
    if (!shown?.open) return;
    hidden.add(`${shown.key} ${shown.at}`);
    send(board, hand, "say.dismiss", { key: shown.key });
    showLine();
  });

  // -- the history
  let chosen = stays ? (model.get("part") || "milestones") : "";
  let unfolded = new Set();
  const parts = make("div", { class: "rn-seg", role: "group", "aria-label": "Show" });
  const buttons = Object.entries(PARTS).map(([key, label]) => {
    const button = make("button", { type: "button", "data-part": key }, label);
    button.addEventListener("click", () => openPart(key));
    parts.append(button);
    return button;
  });
  const copy = make("button", { type: "button", class: "rn-b rn-small" }, "Copy as text");
  const close = make("button", { type: "button", class: "rn-b rn-small rn-ghost" }, icon("close"), "Close");
  const list = make("ol");
  const scroll = make("div", { class: "rn-rows", tabindex: "0", role: "log", "aria-live": "off", "aria-label": "Newest first" }, list);
  const top = make("div", { class: "rn-logbar" }, make("h3", {}, "History"), parts, make("span", { class: "rn-grow" }), copy);
  if (!stays) top.append(close);
  log.append(top, scroll);
  // What the kernel has put; what the line holds, while that has not come, or never will.
  const rows = () => {
    if (model.get("part") === chosen && (model.get("rows").length || !silence(board))) return model.get("rows");
    return [...board.get("messages")].reverse().filter((m) => chosen !== "problems" || ["problem", "warning"].includes(m.kind));
  };
  const settledOf = (row) => (row.settled ? `settled at ${clock(row.settledAt)} by ${row.settled}` : "");
  const asText = (row) => [row.when ?? clock(row.at), row.word ?? WORDS[row.kind] + (row.count > 1 ? ` ×${row.count}` : ""), row.text, settledOf(row)].filter(Boolean).join("\t");
  const fillRow = (item, row) => {
    const what = make("span", {}, make("span", {}, row.text));
    if (row.settled) what.append(make("br"), make("span", { class: "rn-soft" }, `✓ ${settledOf(row)}`));
    const more = make("span");
    if (row.detail) {
      const pre = make("pre", { tabindex: "0" }, row.detail);
      const button = make("button", { type: "button", class: "rn-b rn-small rn-ghost" }, "Traceback");
      const fold = () => { pre.hidden = !unfolded.has(row.key); setAttribute(button, "aria-expanded", String(!pre.hidden)); };
      button.addEventListener("click", () => { if (!unfolded.delete(row.key)) unfolded.add(row.key); fold(); });
      fold();
      more.append(button);
      what.append(pre);
    }
    item.dataset.kind = row.kind;
    item.dataset.settled = String(!row.open);
    item.replaceChildren(
      make("span", { class: "rn-soft rn-num" }, row.when ?? clock(row.at)),
      make("span", { class: "rn-kind" }, icon(row.kind), row.word ?? WORDS[row.kind] + (row.count > 1 ? ` ×${row.count}` : "")),
      what, more,
    );
  };
  const items = new Map(); // by a row's identity, so that a focused one stays
  const showLog = () => {
    log.hidden = chosen === "";
    setAttribute(toggle, "aria-expanded", String(!log.hidden));
    for (const button of buttons) setAttribute(button, "aria-pressed", String(button.dataset.part === chosen));
    if (log.hidden) return;
    const seen = new Set();
    let before = list.firstChild;
    for (const row of rows()) {
      const id = row.key === undefined ? asText(row) : `${row.key} ${row.at}`;
      if (seen.has(id)) continue;
      seen.add(id);
      let item = items.get(id);
      if (!item) { item = make("li"); items.set(id, item); }
      const text = JSON.stringify(row);
      if (item.dataset.row !== text) {
        item.dataset.row = text;
        const had = item.contains(document.activeElement);
        fillRow(item, row);
        if (had) (item.querySelector("button") ?? scroll).focus();
      }
      if (item === before) before = before.nextSibling;
      else list.insertBefore(item, before);
    }
    for (const [id, item] of items) if (!seen.has(id)) { item.remove(); items.delete(id); }
    setAttribute(list, "data-empty", String(!seen.size));
    keepShortcutsAway(log);
  };
  const openPart = (key) => {
    chosen = key;
    send(board, hand, "say.history", { panel: name, part: key });
    place();
    showLog();
  };
  const closeLog = () => { if (!stays && chosen) { openPart(""); toggle.focus(); } };
  toggle.addEventListener("click", () => {
    if (chosen) return closeLog();
    openPart("everything");
    buttons[0].focus();
  });
  toggle.hidden = stays;
  close.addEventListener("click", closeLog);
  log.addEventListener("rn-shut", closeLog);
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(rows().map(asText).join("\n"));
      sayHere(board, "The history is copied");
    } catch (error) {
      sayHere(board, `The history is not copied: ${error.message}`);
    }
  });
  // In a cockpit it opens upwards over the stage; alone, below the line.
  const place = () => {
    if (!root?.classList.contains("rn-cockpit")) return;
    log.style.bottom = `${Math.round(root.getBoundingClientRect().bottom - line.getBoundingClientRect().top + 4)}px`;
  };

  // -- board
  heardFor(board);
  subscriptions.on(board, "change:beat", () => { heardFor(board); showLine(); });
  for (const event of ["change:life", "change:unheard", "change:messages", "rn:waiting", "rn:note"]) subscriptions.on(board, event, () => { showLine(); showLog(); });
  subscriptions.on(model, "change:rows", showLog);
  subscriptions.on(model, "change:part", () => { if (stays && !chosen) chosen = model.get("part"); showLog(); });
  subscriptions.every(1000, showLine);
  subscriptions.on(board, "msg:custom", (message, buffers) => {
    if (!message.download || board.rnTaken === message.id) return; // several views, one file
    board.rnTaken = message.id;
    const url = URL.createObjectURL(new Blob(buffers));
    make("a", { href: url, download: message.download }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  });

  // Tells the kernel what of the panel is seen, so that only that is fed: a tab, or the whole.
  const view = Math.random().toString(36).slice(2);
  const watchSight = () => {
    let inView = true, told;
    const report = () => {
      const what = inView && document.visibilityState === "visible" ? (root.dataset.tab ?? "whole") : "";
      if (what === told) return;
      told = what;
      root.toggleAttribute("data-unseen", !what);
      tell(hand, "say.seen", { panel: name, view, what });
    };
    const sight = new IntersectionObserver((entries) => { inView = entries.at(-1).isIntersecting; report(); });
    sight.observe(root);
    const tabs = new MutationObserver(report);
    tabs.observe(root, { attributes: true, attributeFilter: ["data-tab"] });
    document.addEventListener("visibilitychange", report);
    report();
    subscriptions.atEnd(() => {
      sight.disconnect();
      tabs.disconnect();
      document.removeEventListener("visibilitychange", report);
      tell(hand, "say.seen", { panel: name, view, what: null });
    });
  };

  let tries = 0;
  const adopt = () => {
    const found = el.closest(".ringnb-panel");
    if (!found) {
      if (tries++ < 200) setTimeout(adopt, 25);
      return;
    }
    found.setAttribute("role", "region");
    found.setAttribute("aria-label", model.get("region"));
    found.setAttribute("data-ringnb-panel", name);
    found.setAttribute("data-lm-suppress-shortcuts", "true");
    if (found.parentElement?.closest(".ringnb-panel")) {
      for (const node of [line, polite, alert]) node.remove(); // the outer panel's line says it
      el.hidden = !stays;
      if (el.hidden) subscriptions.end();
      return;
    }
    root = found;
    watchSight();
    root.closest(".jp-OutputArea, .jp-Cell, body")
      ?.querySelectorAll(".ringnb-summary")
      .forEach((node) => node.classList.add("ringnb-alive"));
    const showControls = watchControls(root, board, subscriptions);
    const tidy = () => {
      nameControls(root);
      showControls();
      // What a panel is called alone is what its part of a cockpit is called there: once will do.
      for (const heading of root.querySelectorAll("h3")) if (heading.textContent === title.textContent) heading.hidden = true;
    };
    tidy();
    const observer = new MutationObserver((changes) => { if (changes.some(bringsControls)) tidy(); });
    observer.observe(root, { childList: true, subtree: true, attributes: true, attributeFilter: ["class"] });
    subscriptions.atEnd(() => observer.disconnect());
    let left = null;
    takeKeys(root, board, subscriptions, () => {
      const now = document.activeElement, isBack = line.contains(now) && left?.checkVisibility();
      (isBack ? left : acts.querySelector("button") ?? (dismiss.hidden ? toggle : dismiss)).focus();
      left = isBack || line.contains(now) ? null : now;
    });
    if (!root.classList.contains("rn-cockpit")) return;
    const clear = () => { if (chosen) openPart(""); }; // for all actors
    root.addEventListener("rn-all", clear);
    subscriptions.atEnd(() => found.removeEventListener("rn-all", clear));
    const watcher = new ResizeObserver(place);
    watcher.observe(root);
    subscriptions.atEnd(() => watcher.disconnect());
  };
  showLine();
  showLog();
  adopt();
  return () => subscriptions.end();
}
VIEWS.say = render;
