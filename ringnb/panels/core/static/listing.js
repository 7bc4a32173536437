// A table that grows, and a button that copies it as text.
function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const body = make("div", { class: "ringnb-listing", tabindex: "0", role: "log", "aria-live": "off", "aria-label": model.get("label"), style: "max-height:18em;overflow:auto" });
  const copy = make("button", { type: "button", class: "ringnb-button" }, "Copy as text");
  const done = make("span", { role: "status" });
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(model.get("text"));
      done.textContent = " copied";
    } catch (error) {
      done.textContent = ` not copied: ${error.message}`;
    }
  });
  const fill = () => {
    const atEnd = body.scrollTop + body.clientHeight >= body.scrollHeight - 4;
    body.innerHTML = model.get("html"); // made, and escaped, by ringnb._support.text
    if (atEnd) body.scrollTop = body.scrollHeight;
  };
  el.append(body, make("div", { class: "ringnb-actions" }, copy, done));
  subscriptions.on(model, "change:html", fill);
  fill();
  return () => subscriptions.end();
}
export default { render };
