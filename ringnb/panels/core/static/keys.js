// The keys of a panel as a whole. The buttons of a group are one stop of Tab, as in any toolbar: arrows, Home and End go from one
// to the other, and where one of them is chosen, choose. Escape closes what is open; where nothing is, it leaves the panel for its cell. F6 goes
// to the message line, whose buttons may be far from what they answer, and back.
const GROUP = '[role="toolbar"], .rn-seg:not([role="tablist"])';
const buttonsOf = (group) => [...group.querySelectorAll("button")].filter((node) => node.closest(`${GROUP}, [role="dialog"]`) === group && node.checkVisibility());
function settleStop(group) {
  const items = buttonsOf(group), is = (name, value) => items.find((node) => node.getAttribute(name) === value);
  const chosen = group.matches(".rn-seg") ? is("aria-pressed", "true") : is("tabindex", "0");
  const stop = items.find((node) => node === document.activeElement) ?? chosen ?? items[0];
  for (const node of items) setAttribute(node, "tabindex", node === stop ? "0" : "-1");
}
function goInGroup(event) {
  const group = event.target.closest(GROUP), items = group ? buttonsOf(group) : [], at = items.indexOf(event.target);
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: items.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  const next = items[(to + items.length) % items.length];
  next.focus();
  if (group.matches(".rn-seg")) next.click();
}
function escapeFrom(root, board) {
  const boxes = [...root.querySelectorAll('[role="dialog"]')].filter((node) => node.checkVisibility());
  const top = boxes.find((node) => node.matches(".rn-log")) ?? boxes[0]; // the history lies over all others
  const box = boxes.find((node) => node.contains(document.activeElement)) ?? top, event = { root };
  if (box) { box.dispatchEvent(new CustomEvent("rn-shut")); return; }
  board.trigger("rn:escape", event); // whoever heeds it says so to the others
  if (!event.heeded) root.closest(".jp-Cell")?.focus();
}
function takeKeys(root, board, subscriptions, toLine) {
  const isPlain = (event) => !event.ctrlKey && !event.metaKey && !event.altKey;
  // Which button is a group's stop is settled when it matters: buttons come and go by many ways.
  const beforeTab = (event) => { if (event.key === "Tab") root.querySelectorAll(GROUP).forEach(settleStop); };
  // A key that is held presses once, but for what goes on step by step.
  const once = (event) => {
    if (!event.repeat || event.key !== "Enter" || event.target.matches(".rn-sq")) return;
    event.preventDefault();
    event.stopPropagation(); // the press may have brought the focus to a field that would take it
  };
  const press = (event) => {
    if (event.defaultPrevented || !isPlain(event)) return;
    if (event.key === "Escape") escapeFrom(root, board);
    else if (event.key === "F6") { event.preventDefault(); toLine(); }
    else if (!event.shiftKey) goInGroup(event);
  };
  for (const [node, handler, capture] of [[document, beforeTab, true], [root, once, true], [root, press, false]]) {
    node.addEventListener("keydown", handler, capture);
    subscriptions.atEnd(() => node.removeEventListener("keydown", handler, capture));
  }
}
