// This moment: what is known of what the playhead is at, and what can be done with it.
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const [board, hand] = [await part(model, "board"), await part(model, "hand")];
  const facts = make("dl");
  const askLine = (what, node) => root.closest(".ringnb-panel").querySelector(".rn-line").dispatchEvent(new CustomEvent(what, { detail: node }));
  const label = make("input", { type: "text", maxlength: "200", placeholder: "why it is kept", "aria-label": "Label of the pin" });
  const buttons = [["moment.pin", "Pin", "Keep this checkpoint whatever the policy says"], ["moment.unpin", "Unpin", "Let the policy decide on it again"], ["moment.check", "Check again", "Read every byte of it"], ["moment.download", "Download", "This checkpoint as one zip file"], ["moment.movie", "Movie", "A GIF of the checkpoints that the line shows of this run: zoom in for fewer"]].map(([action, text, help]) => {
    const node = make("button", { type: "button", class: "rn-b rn-small", title: help, "data-do": action }, text);
    node.addEventListener("click", () => {
      if (node.getAttribute("aria-disabled") === "true") sayHere(board, `${text}: ${node.title}`);
      else if (action === "moment.movie") askLine("rn-movie", node); // which knows what is in sight
      else send(board, hand, action, action === "moment.pin" ? { label: label.value } : {}, node);
      if (action === "moment.pin") label.value = "";
    });
    return { action, node, help };
  });
  const node = (action) => buttons.find((one) => one.action === action).node;
  label.addEventListener("keydown", (event) => { if (isEnter(event) && label.value.trim()) node("moment.pin").click(); });
  const name = make("button", { type: "button", class: "rn-b rn-small rn-ghost", title: "What the run is called on the line (F2 there, or a double click), until the notebook's kernel restarts" }, "Name the run…");
  name.addEventListener("click", () => askLine("rn-name", name));
  const root = make("section", { class: "rn-moment", "aria-label": "This moment" }, make("header", {}, make("h3", {}, "This moment"), name), facts,
    make("div", { class: "rn-g", role: "toolbar", "aria-label": "This checkpoint" }, make("span", { class: "rn-g" }, label, ...buttons.slice(0, 2).map((one) => one.node)), make("span", { class: "rn-g" }, ...buttons.slice(2).map((one) => one.node))));
  el.append(root);
  const showFacts = () => {
    const rows = model.get("facts");
    const shown = [...facts.querySelectorAll("dt")];
    if (shown.length === rows.length && shown.every((term, i) => term.textContent === rows[i][0])) {
      rows.forEach(([, text], i) => setText(shown[i].nextSibling, text));
      return;
    }
    facts.replaceChildren(...rows.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  };
  const showFlags = () => {
    const flags = board.get("flags");
    for (const { action, node: button, help } of buttons) showFlag(button, flags[action], help);
    const pinned = model.get("pinned");
    const [pin, unpin] = [node("moment.pin"), node("moment.unpin")];
    (pinned ? unpin : pin).hidden = false;
    if (pinned) for (const one of [pin, label]) hide(one, true, unpin);
    else { label.hidden = false; hide(unpin, true, pin); }
  };
  subscriptions.on(model, "change:facts", showFacts);
  subscriptions.on(model, "change:pinned", showFlags);
  subscriptions.on(board, "change:flags", showFlags);
  showFacts();
  showFlags();
  keepShortcutsAway(root);
  return () => subscriptions.end();
}
VIEWS.moment = render;
