// Buttons that work while a cell runs: what they show comes from the frame's model, what they send goes
// by their own, which the kernel never writes to.
function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const bar = make("div", { class: "ringnb-actions", role: "group", "aria-label": model.get("label") });
  const sender = makeSender(model, subscriptions, el);
  const buttons = {};
  let frame = null;
  let refused = ""; // whose reason is shown
  const flagsOf = (id) => frame?.get("flags")?.[id] ?? {};
  for (const [id, label, help] of model.get("actions")) {
    const button = make("button", { type: "button", class: "ringnb-button", title: help, "data-help": help, "data-action": id }, label);
    button.addEventListener("click", () => {
      if (button.getAttribute("aria-disabled") === "true") {
        refused = id;
        sender.note(`${button.textContent}: ${button.title}.`);
        return;
      }
      sender.send({ do: id });
    });
    buttons[id] = button;
    bar.append(button);
  }
  const update = () => {
    for (const [id, button] of Object.entries(buttons)) {
      const flags = flagsOf(id);
      button.setAttribute("aria-disabled", flags.disabled ? "true" : "false");
      if (flags.pressed === undefined) button.removeAttribute("aria-pressed");
      else button.setAttribute("aria-pressed", String(flags.pressed));
      button.title = flags.why ?? button.dataset.help;
      if (!flags.disabled && refused === id) { refused = ""; sender.note(""); }
      if (flags.label && button.textContent !== flags.label) button.textContent = flags.label;
    }
  };
  el.prepend(bar);
  modelOf(model, model.get("frame")).then((found) => {
    frame = found;
    if (frame) {
      subscriptions.on(frame, "change:flags", update);
      sender.watch(frame);
    }
    update();
  }).catch(() => {});
  return () => subscriptions.end();
}
export default { render };
