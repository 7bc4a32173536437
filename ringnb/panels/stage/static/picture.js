// A picture with words: alternative text, a caption, and a mark when it shows what is no longer so.
function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const image = make("img", { alt: "" });
  const caption = make("figcaption");
  const figure = make("figure", { class: "ringnb-picture" }, image, caption);
  el.append(figure);
  let url = null;
  const draw = () => {
    const png = model.get("png");
    if (url) URL.revokeObjectURL(url);
    url = png?.byteLength ? URL.createObjectURL(new Blob([png], { type: "image/png" })) : null;
    if (url) image.src = url; else image.removeAttribute("src");
    image.hidden = !url;
  };
  const showWords = () => {
    image.alt = model.get("alt");
    caption.textContent = model.get("caption");
    figure.classList.toggle("ringnb-stale", model.get("stale"));
  };
  subscriptions.on(model, "change:png", draw);
  for (const name of ["alt", "caption", "stale"]) subscriptions.on(model, `change:${name}`, showWords);
  subscriptions.atEnd(() => url && URL.revokeObjectURL(url));
  draw();
  showWords();
  return () => subscriptions.end();
}
export default { render };
