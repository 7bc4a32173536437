// Controls of ipywidgets that only do something while a session can be steered (the class rn-live-control, as
// `Panel.control` sets it): while it cannot they look so, keep their value and the focus, and say why.
const LIVE_CONTROL = ".rn-live-control :is(input, select)";
const SETS = /^(.|Arrow\w+|Enter|Backspace|Delete|Page\w+|Home|End)$/; // keys that change a control, or open it
function watchControls(root, board, subscriptions) {
  const why = () => { const flag = board.get("flags")["live.steer"]; return flag?.disabled ? flag.why : ""; };
  const refuse = (event) => {
    const node = event.target.closest(LIVE_CONTROL);
    if (!node || !why() || (event.key && (!SETS.test(event.key) || event.ctrlKey || event.metaKey))) return;
    event.preventDefault();
    event.stopPropagation(); // ipywidgets would turn a check box over by itself
    if (event.type === "mousedown") node.focus(); // which that would have done
    else sayHere(board, `${node.getAttribute("aria-label") ?? node.labels?.[0]?.textContent.trim() ?? "This"}: ${why()}`);
  };
  for (const type of ["mousedown", "click", "keydown"]) {
    root.addEventListener(type, refuse, true);
    subscriptions.atEnd(() => root.removeEventListener(type, refuse, true));
  }
  const show = () => {
    const off = Boolean(why());
    for (const node of root.querySelectorAll(LIVE_CONTROL)) {
      setAttribute(node, "aria-disabled", String(off));
      node.readOnly = off; // a wheel would change a number
    }
  };
  subscriptions.on(board, "change:flags", show);
  return show;
}
