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
// Sends a control's messages, and says so if the kernel has not received one: where a front end has no
// thread beside the cells, it receives them when the running cell has ended.
function speaking(model, ears, box) {
  const note = make("div", { class: "ringnb-waiting", role: "status" });
  box.append(note);
  let frame = null;
  let waits = null;
  let timer = 0;
  const settle = () => {
    if (waits === null || !frame?.get("acknowledged").includes(waits)) return;
    waits = null;
    clearTimeout(timer);
    note.textContent = "";
  };
  ears.later(() => clearTimeout(timer));
  return {
    note(text) { note.textContent = text; },
    reads(found) { frame = found; ears.to(frame, "change:acknowledged", settle); },
    send(content) {
      waits = Math.random().toString(36).slice(2);
      note.textContent = "";
      model.send({ ...content, id: waits });
      clearTimeout(timer);
      timer = setTimeout(() => {
        if (waits !== null) note.textContent = "Not received yet: controls apply after the running cell.";
      }, 1000);
    },
  };
}
