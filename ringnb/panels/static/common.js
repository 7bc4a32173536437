// Shared by the widgets of ringnb's panels: other models by reference, and small DOM helpers.
async function modelOf(model, reference) {
  if (!reference) return null;
  return await model.widget_manager.get_model(reference.replace("IPY_MODEL_", ""));
}
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
// A set of subscriptions that end with the view.
function listening() {
  const stops = [];
  return {
    to(model, event, handler) { model.on(event, handler); stops.push(() => model.off(event, handler)); },
    end() { for (const stop of stops) stop(); },
    later(stop) { stops.push(stop); },
  };
}
