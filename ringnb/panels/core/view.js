async function part(model, name) {
  const held = model.get(name);
  return typeof held === "string" ? await model.widget_manager.get_model(held.replace("IPY_MODEL_", "")) : held;
}
async function load(library) {
  const packed = new Blob([library.get("packed")]).stream();
  const { script, style } = await new Response(packed.pipeThrough(new DecompressionStream("deflate"))).json();
  const sheet = document.getElementById("ringnb-style") ?? document.createElement("style");
  sheet.id = "ringnb-style";
  sheet.textContent = style;
  document.head.append(sheet);
  const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  return (await import(url)).default;
}
async function render(context) {
  const library = await part(await part(context.model, "board"), "library");
  const views = await (library.rnViews ??= load(library));
  return views[context.model.get("shows")](context);
}
export default { render };
