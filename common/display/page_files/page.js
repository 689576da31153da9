// Figures are drawn once the page is laid out, since only then their places have a width, and one by one, so that the
// page can be read and scrolled meanwhile; and again when a place gets another width.
const config = {displaylogo: false, modeBarButtons: [["toImage", "resetScale2d"]]};
const widths = new ResizeObserver((entries) => entries.forEach(({target, contentRect}) => {
  if (contentRect.width && Math.abs(contentRect.width - target.layout.width) > 1)
    Plotly.relayout(target, {width: contentRect.width});
}));
const choose = (place, figure, lists) => {
  const chosen = Object.fromEntries(lists.map((list) => [list.name, list.value]));
  for (const [path, template] of Object.entries(figure.choices.bindings)) {
    const key = template.replace(/\{(.+?)\}/g, (_, name) => chosen[name]), steps = path.split("."), last = steps.pop();
    steps.reduce((part, step) => part[step] ??= {}, figure)[last] = figure.choices.values[key] ?? key;
  }
};
const places = [...document.querySelectorAll(".plot")];
const drawNext = () => {
  const place = places.shift();
  if (!place) return;
  const figure = JSON.parse(place.nextElementSibling.textContent);
  const lists = [...place.parentElement.querySelectorAll("select")];
  const draw = () => {
    if (figure.choices) choose(place, figure, lists);
    return Plotly.react(place, figure.data, {template: look, ...figure.layout, width: place.clientWidth}, config);
  };
  lists.forEach((list) => { list.onchange = draw; });
  draw().then(() => widths.observe(place));
  setTimeout(drawNext);
};
if (typeof Plotly === "undefined") document.querySelectorAll(".missing").forEach((note) => { note.hidden = false; });
else if (typeof Plotly === "undefined") document.querySelector(".missing").hidden = false;
else drawNext();
