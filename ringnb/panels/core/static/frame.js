// The head of a panel: title, status line, alert, and a banner when nothing comes from the kernel any more.
// It also gives the panel's root a role and a name, keeps JupyterLab's shortcuts away from it, names
// what ipywidgets leaves without a name.
function nameControls(root) {
  // JupyterLab's shortcuts match the focused element itself: an attribute further up comes too late.
  for (const node of root.querySelectorAll("button, input, select, textarea, summary, a[href], [tabindex]")) {
    node.setAttribute("data-lm-suppress-shortcuts", "true");
  }
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
  for (const node of root.querySelectorAll(".widget-toggle-button")) {
    const pressed = String(node.classList.contains("mod-active"));
    if (node.getAttribute("aria-pressed") !== pressed) node.setAttribute("aria-pressed", pressed);
  }
  for (const node of root.querySelectorAll("input, select, textarea")) {
    if (node.labels?.length || node.hasAttribute("aria-label")) continue;
    const label = node.closest(".jupyter-widgets")?.querySelector(".widget-label, .widget-label-basic");
    if (label?.textContent) node.setAttribute("aria-label", label.textContent);
  }
}
function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const line = make("div", { class: "ringnb-line", role: "status", "aria-live": "polite" });
  const alert = make("div", { class: "ringnb-alert", role: "alert" });
  const detail = make("details", {}, make("summary", {}, "Traceback"), make("pre"));
  const banner = make("div", { class: "ringnb-banner", role: "alert" });
  const trouble = make("div", { class: "ringnb-background", role: "alert" });
  el.append(make("h3", {}, model.get("title")), banner, trouble, line, alert, detail);

  let seen = performance.now();
  const showBanner = () => {
    const state = model.get("state");
    const silent = (performance.now() - seen) / 1000;
    let text = "";
    if (state !== "running") text = state;
    else if (model.get("beats") && silent > 3) text = `Nothing received for ${Math.floor(silent)} s: what is shown is old. The notebook's kernel was restarted, has died, or is not connected.`;
    if (banner.textContent !== text) banner.textContent = text;
  };
  const showLines = () => {
    if (line.textContent !== model.get("status")) line.textContent = model.get("status");
    if (alert.textContent !== model.get("alert")) alert.textContent = model.get("alert");
    if (trouble.textContent !== model.get("trouble")) trouble.textContent = model.get("trouble");
    detail.hidden = !model.get("detail");
    detail.querySelector("pre").textContent = model.get("detail");
  };
  subscriptions.on(model, "change:beat", () => { seen = performance.now(); showBanner(); });
  subscriptions.on(model, "change:state", showBanner);
  for (const name of ["status", "alert", "detail", "trouble"]) subscriptions.on(model, `change:${name}`, showLines);
  const timer = setInterval(showBanner, 1000);
  subscriptions.atEnd(() => clearInterval(timer));
  showLines();
  showBanner();

  subscriptions.on(model, "msg:custom", (message, buffers) => {
    if (!message.download) return;
    const url = URL.createObjectURL(new Blob(buffers, { type: "application/zip" }));
    make("a", { href: url, download: message.download }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  });

  let tries = 0;
  const adopt = () => {
    const root = el.closest(".ringnb-panel");
    if (!root) {
      if (tries++ < 200) setTimeout(adopt, 25);
      return;
    }
    root.setAttribute("role", "region");
    root.setAttribute("aria-label", model.get("region"));
    root.setAttribute("data-ringnb-panel", model.get("name"));
    root.setAttribute("data-lm-suppress-shortcuts", "true");
    const inner = root.parentElement?.closest(".ringnb-panel");
    if (inner) { line.removeAttribute("role"); line.removeAttribute("aria-live"); }
    root.closest(".jp-OutputArea, .jp-Cell, body")
      ?.querySelectorAll(".ringnb-summary")
      .forEach((node) => node.classList.add("ringnb-alive"));
    nameControls(root);
    const observer = new MutationObserver(() => nameControls(root));
    observer.observe(root, { childList: true, subtree: true, attributes: true, attributeFilter: ["class"] });
    subscriptions.atEnd(() => observer.disconnect());
  };
  adopt();
  return () => subscriptions.end();
}
export default { render };
