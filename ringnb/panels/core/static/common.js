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
function makeSubscriptions() {
  const stops = [];
  return {
    on(model, event, handler) { model.on(event, handler); stops.push(() => model.off(event, handler)); },
    end() { for (const stop of stops) stop(); },
    atEnd(stop) { stops.push(stop); },
  };
}
// Sends a control's messages, and says so if the kernel has not received one: where a front end has no
// thread beside the cells, it receives them when the running cell has ended.
function makeSender(model, subscriptions, box) {
  const note = make("div", { class: "ringnb-waiting", role: "status" });
  box.append(note);
  let frame = null;
  let awaited = null; // the id of a message that the kernel has not acknowledged
  let timer = 0;
  const settle = () => {
    if (awaited === null || !frame?.get("acknowledged").includes(awaited)) return;
    awaited = null;
    clearTimeout(timer);
    note.textContent = "";
  };
  subscriptions.atEnd(() => clearTimeout(timer));
  return {
    note(text) { note.textContent = text; },
    watch(found) { frame = found; subscriptions.on(frame, "change:acknowledged", settle); },
    send(content) {
      awaited = Math.random().toString(36).slice(2);
      note.textContent = "";
      model.send({ ...content, id: awaited });
      clearTimeout(timer);
      timer = setTimeout(() => {
        if (awaited !== null) note.textContent = "Not received yet: controls apply after the running cell.";
      }, 1000);
    },
  };
}
