// Numbers that are reported: of each a small curve, its newest value and its range.
function curveOf({ name, newest, range, points }, words) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const said = `${name}: newest ${newest}, between ${range[0]} and ${range[1]}; ${words}`;
  for (const [key, value] of Object.entries({ viewBox: "-8 -40 1016 1080", preserveAspectRatio: "none", role: "img", "aria-label": said })) svg.setAttribute(key, value);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  let down = false; // a point alone is a dash
  const drawn = points.map(([x, y]) => { const was = down; down = y !== null; return !down ? "" : was ? `L${x} ${1000 - y}` : `M${x} ${1000 - y}h1`; });
  path.setAttribute("d", drawn.join(""));
  svg.append(path);
  return make("div", { class: "rn-curve" },
    make("div", { class: "rn-curve-name" }, make("b", {}, name), make("span", { class: "rn-num" }, newest)),
    svg, make("div", { class: "rn-curve-range rn-soft rn-num" }, make("span", {}, range[1]), make("span", {}, range[0])));
}
async function render({ model, el }) {
  const subscriptions = makeSubscriptions();
  const root = make("section", { class: "rn-curves", "aria-label": "Reported numbers" });
  const list = make("div"), words = make("p", { class: "rn-soft" });
  root.append(make("h3", {}, "Reported numbers"), list, words);
  el.append(root);
  const show = () => {
    const curves = model.get("curves"), said = model.get("words");
    root.classList.toggle("rn-nothing", !curves.length);
    list.replaceChildren(...curves.map((one) => curveOf(one, said)));
    setText(words, said || "Nothing is reported: session.report(every=100, energy=f)");
  };
  for (const name of ["curves", "words"]) subscriptions.on(model, `change:${name}`, show);
  show();
  return () => subscriptions.end();
}
VIEWS.curves = render;
