// SPDX-License-Identifier: Apache-2.0
// Two networks side by side.

const sides = JSON.parse(document.getElementById("data").textContent).sides;
const [left, right] = sides;
const names = left.model === right.model
  ? [`${left.model} (first)`, `${right.model} (second)`] : [left.model, right.model];
const what = (layer) => layer.family || layer.kind;
const time = (side) => sum(side.layers, (layer) => layer.time && layer.time.ms);
const reached = ({ cone }) => (cone ? times(cone.axes.map((axis) => axis.size)) : "unbounded");

function row(words, ...cells) {
  return el("tr", {}, el("td", { class: "words" }, words), ...cells);
}

function changed(before, after) {
  if (!before || before === after) return el("td", {}, before === after ? "" : "new");
  const share = after / before - 1;
  const sign = share > 0 ? "+" : "\u2212";
  return el("td", { class: share > 0 ? "more" : "less" }, `${sign}${percent(Math.abs(share))}`);
}

function headed(table, ...heads) {
  const cells = heads.map((head, i) =>
    el("th", { scope: "col", class: i ? "" : "words" }, head));
  const body = el("tbody");
  at(table).append(el("thead", {}, el("tr", {}, ...cells)), body);
  return body;
}

function drawTotals() {
  const body = headed("totals-table", "", ...names, "change");
  const rows = [
    ["MACs", (s) => s.total.macs, amount], ["live MACs", (s) => s.total.live_macs, amount],
    ["parameters", (s) => s.total.parameters, amount],
    ["weights", (s) => s.total.weight_bytes, bytes],
    ["activations", (s) => s.total.activation_bytes, bytes],
    ["activations at once", (s) => s.total.peak_bytes, bytes],
    ["layers", (s) => s.layers.length, amount],
  ];
  if (sides.every(time)) rows.push(["time", time, ms]);
  for (const [words, of, show] of rows) {
    const cells = sides.map((side) => el("td", {}, show(of(side))));
    body.append(row(words, ...cells, changed(...sides.map(of))));
  }
  const cones = sides.map((side) => el("td", {}, reached(side)));
  body.append(row("receptive field", ...cones, el("td", {})));
}

// Both on one scale: the shorter strip is the cheaper network.
function drawStrips() {
  const all = sides.flatMap((side) => side.layers);
  const kinds = [...new Set(all.map(what))]
    .map((kind) => [kind, sum(all.filter((l) => what(l) === kind), (l) => l.macs)])
    .filter(([, macs]) => macs).sort((a, b) => b[1] - a[1]).map(([kind]) => kind);
  const colour = (kind) => PALETTE[kinds.indexOf(kind)] || "#8b949e";
  const most = Math.max(...sides.map((side) => side.total.macs), 1);
  sides.forEach((side, number) => {
    const strip = el("div", { class: "strip", role: "img", "aria-label": `MACs of ${names[number]}` });
    strip.style.width = `${100 * side.total.macs / most}%`;
    for (const layer of side.layers.filter((l) => l.macs)) {
      const part = el("i", { title: `${layer.name}: ${what(layer)}, ${amount(layer.macs)}` });
      part.style.flexGrow = layer.macs;
      part.style.background = colour(what(layer));
      strip.append(part);
    }
    at("strips").append(el("h3", {}, names[number]), strip);
  });
  for (const kind of kinds) {
    const swatch = el("i");
    swatch.style.background = colour(kind);
    at("legend").append(el("li", {}, swatch, kind));
  }
}

const facts = (layer) => layer && [what(layer), layer.macs, layer.parameters, layer.output.join()];

function drawDifferences() {
  const weighty = sides.map((side) => side.layers.filter((l) => l.macs || l.parameters));
  const named = weighty.map((rows) => new Map(rows.map((layer) => [layer.name, layer])));
  const every = [...new Set(weighty.flat().map((layer) => layer.name))];
  const differing = every.filter((name) =>
    JSON.stringify(facts(named[0].get(name))) !== JSON.stringify(facts(named[1].get(name))));
  at("alike").textContent =
    `Of the layers with weights or products ${every.length - differing.length} of the same name ` +
    `are alike, ${differing.length} differ or stand on one side only.`;
  if (!differing.length) { at("differences").remove(); return; }
  const body = headed("differences", "layer", "what", ...names.map((name) => `MACs, ${name}`),
    ...names.map((name) => `parameters, ${name}`));
  for (const name of differing) {
    const pair = named.map((side) => side.get(name));
    const kinds = [...new Set(pair.filter(Boolean).map(what))].join(" \u2192 ");
    const show = (of) => pair.map((layer) => el("td", {}, layer ? amount(of(layer) || 0) : "absent"));
    body.append(row(name, el("td", {}, kinds), ...show((l) => l.macs), ...show((l) => l.parameters)));
  }
}

at("models").textContent = names.join(" against ");
document.title = `${names.join(" against ")} \u00b7 convsmith analysis`;
sides.forEach((side, number) => side.notes.forEach((note) =>
  at("notes").append(el("li", {}, `\u2022 ${names[number]}: ${note}`))));
drawTotals();
drawStrips();
drawDifferences();
