
// SPDX-License-Identifier: Apache-2.0
// Draws an analysis. Names in it are a stranger's: they become text nodes, never markup.
// What the reader chooses stands in the address: #layer=12&sort=macs&filter=conv&unfold.
"use strict";
const { analysis: found, image } = JSON.parse(document.getElementById("data").textContent);
const layers = found.layers;
const at = (id) => document.getElementById(id);

function el(tag, attributes = {}, ...children) {
  const isSvg = ["svg", "rect", "line", "image", "path"].includes(tag) || attributes.svg;
  const made = isSvg
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name !== "svg" && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// ---- numbers -----------------------------------------------------------------------------------

function scaled(number, base, units) {
  let unit = 0;
  while (number >= base * 0.9995 && unit < units.length - 1) { number /= base; unit += 1; }
  const digits = number >= 1000 || number % 1 === 0 ? Math.round(number) : Number(number.toPrecision(3));
  return units[unit] ? `${digits}\u00a0${units[unit]}` : `${digits}`;
}
const amount = (n) => scaled(n, 1000, ["", "k", "M", "G", "T", "P"]);
const bytes = (n) => scaled(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
const ms = (n) => `${Number(n.toPrecision(3))}\u00a0ms`;
const percent = (x) => `${(100 * x).toFixed(1)}\u00a0%`;
const times = (sizes) => sizes.join("\u00a0×\u00a0");
const exact = ([numerator, denominator]) => numerator / denominator;
const fraction = ([n, d]) => (d === 1 ? `${n}` : `${n}/${d}`);
const sum = (rows, of) => rows.reduce((total, row) => total + (of(row) || 0), 0);
const field = (cone) =>
  !cone ? "" : cone.whole_map_by ? "all" : cone.axes.map((axis) => axis.size).join("×");

const cost = {
  macs: { title: "MACs", of: (l) => l.macs, show: amount },
  parameters: { title: "Parameters", of: (l) => l.parameters, show: amount },
  output_bytes: { title: "Activation memory", of: (l) => l.output_bytes, show: bytes },
};
const isTimed = layers.some((l) => l.time);
if (isTimed) cost.ms = { title: "Time", of: (l) => l.time && l.time.ms, show: ms };

// ---- colours: the kinds that cost most come first ----------------------------------------------

const PALETTE = ["#3b7dd8", "#e08a1e", "#2a9d74", "#c8559b", "#8a63c9", "#b8a01c", "#39a9c4", "#d1544a"];
const what = (layer) => layer.family || layer.kind;
const kinds = [...new Set(layers.map(what))]
  .map((kind) => [kind, sum(layers.filter((l) => what(l) === kind), (l) => l.macs)])
  .sort((a, b) => b[1] - a[1])
  .map(([kind]) => kind);
const colour = (layer) => PALETTE[kinds.indexOf(what(layer))] || "#8b949e";

// ---- the head ----------------------------------------------------------------------------------

function drawTotals() {
  const { total, cone } = found;
  document.title = `${found.model} · convsmith analysis`;
  at("model").textContent = found.model;
  at("inputs").textContent =
    found.inputs.map((x) => `${x.name}: ${times(x.shape)} ${x.dtype}`).join(", ") +
    `; ${layers.length} layers`;
  const fact = (name, value, more) =>
    at("totals").append(
      el("div", {}, el("dt", {}, name), el("dd", {}, value, el("small", {}, more))));
  const live = total.macs ? total.live_macs / total.macs : 1;
  fact("MACs", amount(total.macs), `${percent(live)} live, ${amount(total.flops)} flops`);
  fact("parameters", amount(total.parameters), `${bytes(total.weight_bytes)} of weights`);
  fact("activations", bytes(total.activation_bytes), `${bytes(total.peak_bytes)} at once`);
  if (isTimed) {
    const roof = sum(layers, (l) => l.time && l.time.roofline_ms);
    const all = sum(layers, (l) => l.time && l.time.ms);
    fact("time", ms(all), `${percent(roof / all)} of it needed by the roofline`);
  }
  if (cone) {
    const strides = times(cone.axes.map((axis) => fraction(axis.stride)));
    fact("receptive field", times(cone.axes.map((axis) => axis.size)), `stride ${strides}, at ${cone.layer}`);
  } else {
    fact("receptive field", "unbounded", "no layer's cone ends");
  }
  fact("norms", amount(total.norm_elements), `numbers; elementwise ${amount(total.elementwise_elements)}`);
  found.notes.forEach((note) => at("notes").append(el("li", {}, `• ${note}`)));
}

const link = (layer, attributes, ...children) =>
  el("a", { href: `#layer=${layer.index}`, "data-layer": layer.index, ...attributes }, ...children);

function drawStrip() {
  const measure = ["ms", "macs", "output_bytes"].find((c) => cost[c] && sum(layers, cost[c].of));
  if (!measure) return;
  const { title, of, show } = cost[measure];
  const all = sum(layers, of);
  at("strip-lead").textContent =
    `From input to output, each layer as wide as its share of the ${title === "MACs" ? title : title.toLowerCase()}.`;
  let module = null;
  for (const layer of layers) {
    const value = of(layer);
    if (!value) continue;
    const tip = `${layer.name}: ${what(layer)}, ${show(value)} (${percent(value / all)})`;
    const segment = link(layer, { title: tip, "aria-label": tip, tabindex: -1 });
    segment.style.flexGrow = value;
    segment.style.background = colour(layer);
    at("strip").append(segment);
    const top = layer.module.split(".")[0] || "(model)";
    if (!module || module.textContent !== top) {
      module = el("span", { title: top }, top);
      module.style.flexGrow = 0;
      at("modules").append(module);
    }
    module.style.flexGrow = Number(module.style.flexGrow) + value;
  }
  for (const kind of kinds) {
    const swatch = el("i");
    swatch.style.background = colour(layers.find((l) => what(l) === kind));
    at("legend").append(el("li", {}, swatch, kind));
  }
}

function drawDetail(layer) {
  const facts = el("dl", { class: "facts" });
  const fact = (name, value) =>
    value && facts.append(el("div", {}, el("dt", {}, name), el("dd", {}, value)));
  fact("what", [what(layer), layer.part_of && `part of ${layer.part_of}`].filter(Boolean).join(", "));
  fact("operator", layer.operator);
  fact("called at", layer.line);
  fact("in", layer.inputs.map(times).join(", "));
  fact("out", times(layer.output));
  for (const [name, value] of Object.entries(layer.options)) {
    fact(name.replace("_", " "), JSON.stringify(value));
  }
  fact("MACs", layer.macs === null ? "cannot be counted" : layer.macs && `${amount(layer.macs)}, ${percent(layer.live_macs / layer.macs)} live`);
  fact("numbers worked through", layer.elements && amount(layer.elements));
  fact("parameters", layer.parameters && layer.parameters.toLocaleString("en"));
  fact("bytes in, out, weights", [layer.input_bytes, layer.output_bytes, layer.weight_bytes].map(bytes).join(", "));
  fact("flops per byte", layer.intensity && layer.intensity.toPrecision(3));
  fact("sees", field(layer.cone));
  if (layer.time) fact("time, roofline", `${ms(layer.time.ms)}, ${ms(layer.time.roofline_ms)}`);
  const notes = layer.notes.map((note) => el("li", {}, `• ${note}`));
  at("detail").replaceChildren(el("h3", {}, layer.name), facts, el("ul", {}, ...notes));
}

// ---- the cone ----------------------------------------------------------------------------------

// Layers that see just what the one before saw are passed over.
const steps = layers.filter((layer, place) => {
  const before = layers.slice(0, place).reverse().find((l) => l.cone);
  return layer.cone && layer.cone.axes.length + !!layer.cone.whole_map_by &&
    (!before || JSON.stringify(before.cone) !== JSON.stringify(layer.cone));
});
const shapeOf = (cone) => found.inputs.find((x) => x.name === cone.input).shape;

// First and last position, along each of the two axes drawn, that the middle output reads.
function span(layer, axis) {
  const size = shapeOf(layer.cone)[axis];
  const cone = layer.cone.axes.find((c) => c.axis === axis);
  if (layer.cone.whole_map_by || !cone) return [0, size - 1];
  const [stride, a, b] = [exact(cone.stride), exact(cone.a), exact(cone.b)];
  const isMap = layer.output.length === shapeOf(layer.cone).length;
  const middle = !stride ? 0
    : isMap ? Math.floor((layer.output[axis] - 1) / 2)
    : Math.round(((size - 1) / 2 - (a + b) / 2) / stride);
  return [Math.ceil(stride * middle + a), Math.floor(stride * middle + b)];
}

function rectangle(layer, attributes) {
  const rank = shapeOf(layer.cone).length;
  const [left, right] = span(layer, rank - 1);
  const [top, bottom] = rank > 3 ? span(layer, rank - 2) : [0, extent(layer)[1] - 1];
  return el("rect", {
    x: left, y: top, width: right - left + 1, height: bottom - top + 1,
    "vector-effect": "non-scaling-stroke", ...attributes,
  });
}

// Width and height of what is drawn; a sequence becomes a band.
function extent(layer) {
  const shape = shapeOf(layer.cone);
  const width = shape[shape.length - 1];
  return [width, shape.length > 3 ? shape[shape.length - 2] : Math.ceil(width / 8)];
}

function background(width, height) {
  if (image) {
    return [el("image", { href: image, x: 0, y: 0, width, height, preserveAspectRatio: "none" })];
  }
  const every = 2 ** Math.max(0, Math.ceil(Math.log2(Math.max(width, height) / 64)));
  const line = { stroke: "var(--line)", "stroke-width": 1, "vector-effect": "non-scaling-stroke" };
  const drawn = [el("rect", { x: 0, y: 0, width, height, fill: "var(--paper)" })];
  for (let x = 0; x <= width; x += every) drawn.push(el("line", { x1: x, x2: x, y1: 0, y2: height, ...line }));
  for (let y = 0; y <= height; y += every) drawn.push(el("line", { x1: 0, x2: width, y1: y, y2: y, ...line }));
  return drawn;
}

function view(layer) {
  const [width, height] = extent(layer);
  const box = [0, 0, width, height];  // left, top, right, bottom
  for (const step of steps.filter((s) => s.cone.input === layer.cone.input)) {
    const r = rectangle(step, {});
    const [x, y, w, h] = ["x", "y", "width", "height"].map((name) => Number(r.getAttribute(name)));
    box[0] = Math.min(box[0], x); box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x + w); box[3] = Math.max(box[3], y + h);
  }
  const far = 0.75;  // of the picture on each side; a greater cone runs out of sight
  const left = Math.max(box[0], -far * width), top = Math.max(box[1], -far * height);
  const right = Math.min(box[2], (1 + far) * width), bottom = Math.min(box[3], (1 + far) * height);
  const edge = 0.02 * Math.max(width, height);
  return [left - edge, top - edge, right - left + 2 * edge, bottom - top + 2 * edge].join(" ");
}

function drawCone(number) {
  const layer = steps[number];
  const [width, height] = extent(layer);
  const earlier = steps.slice(0, number).filter((s) => s.cone.input === layer.cone.input && !s.cone.whole_map_by);
  const isWhole = layer.cone.whole_map_by;
  at("cone").replaceChildren(el("svg", {
    viewBox: view(layer), role: "img", "aria-label": `what one output of ${layer.name} sees`,
  },
    ...background(width, height),
    el("rect", { x: 0, y: 0, width, height, fill: "none", stroke: "var(--soft)", "vector-effect": "non-scaling-stroke" }),
    ...earlier.map((step) => rectangle(step, { fill: "none", stroke: "var(--mark)", "stroke-opacity": 0.35 })),
    rectangle(layer, {
      fill: "var(--mark)", "fill-opacity": 0.22, stroke: "var(--mark)", "stroke-width": 2.5,
      "stroke-dasharray": isWhole ? "6 4" : null, class: "cone-now",
    })));
  const axes = layer.cone.axes;
  const inside = axes.reduce((product, axis) => product * (1 - axis.outside), 1);
  const lines = isWhole
    ? [`sees all places, since ${isWhole.layer}: ${isWhole.why}`]
    : [`sees ${times(axes.map((axis) => axis.size))} positions of ${times(shapeOf(layer.cone).slice(2))}`,
       `a step of the output is ${times(axes.map((axis) => fraction(axis.stride)))} of the input`,
       `output 0 sees ${axes.map((axis) => `[${fraction(axis.a)}, ${fraction(axis.b)}]`).join(" × ")}`];
  if (!isWhole && inside < 1) lines.push(`${percent(1 - inside)} of it lies beyond the input, in padding`);
  const holes = axes.filter((axis) => axis.touched < axis.size);
  if (holes.length) lines.push(`holes: only ${holes.map((axis) => `${axis.touched} of ${axis.size}`).join(" × ")} are ever read`);
  at("cone-numbers").replaceChildren(
    el("h3", {}, link(layer, {}, layer.name)),
    el("p", { class: "lead" }, `${what(layer)}, step ${number + 1} of ${steps.length}, output ${times(layer.output)}`),
    el("ul", {}, ...lines.map((line) => el("li", {}, line))));
  at("step").value = number;
  at("step").setAttribute("aria-valuetext", layer.name);
}

function startCone() {
  if (!steps.length) { at("cone-section").remove(); return; }
  at("cone-lead").textContent =
    "The part of the input that the middle output of a layer depends on, to scale" +
    (image ? ", on your image, cut and scaled to the input's shape." : ", on a grid of the input's pixels.");
  at("step").max = steps.length - 1;
  at("step").addEventListener("input", () => drawCone(Number(at("step").value)));
  const last = steps.findLastIndex((s) => !s.cone.whole_map_by);
  drawCone(Math.max(last, 0));
}

// ---- gridding ----------------------------------------------------------------------------------

const MOST_SQUARES = 49;

// Of each position in the middle of a cone, its share of the paths over the greatest; 0: a hole.
function weights(axis, sizes) {
  const size = axis ? axis.size : sizes;
  let row = Array(size).fill(axis ? 0 : 1);
  if (axis) axis.touched.forEach((place, i) => { row[place] = Math.max(axis.paths[i], 1e-9); });
  const cut = Math.max(0, Math.floor((size - MOST_SQUARES) / 2));
  row = row.slice(cut, cut + MOST_SQUARES);
  const most = row.reduce((a, b) => Math.max(a, b), 0) || 1;
  return row.map((weight) => weight / most);
}

function holes(layer) {
  const axes = layer.cone.axes.slice(-2);
  const [down, across] = axes.length > 1 ? axes : [null, axes[0]];
  const row = (cone) => cone
    ? weights(layer.gridding.find((g) => g.axis === cone.axis), cone.size) : [1];
  const [rows, columns] = [row(down), row(across)];
  const scale = Math.max(6, Math.floor(288 / columns.length));
  const inset = scale / 4;
  const canvas = el("canvas", {
    width: columns.length * scale, height: rows.length * scale, role: "img",
    "aria-label": `which positions ${layer.name} reads`,
  });
  const pen = canvas.getContext("2d");
  pen.strokeStyle = "#e5a58a";
  pen.lineWidth = Math.max(1.5, scale / 14);
  rows.forEach((h, y) => columns.forEach((w, x) => {
    const weight = h * w;
    // The square root keeps rare paths visible.
    pen.fillStyle = weight ? `rgba(20, 70, 140, ${0.12 + 0.88 * Math.sqrt(weight)})` : "#fff";
    pen.fillRect(x * scale, y * scale, scale, scale);
    if (!weight) {
      pen.beginPath();
      const [left, top, right, bottom] = [x * scale + inset, y * scale + inset, (x + 1) * scale - inset, (y + 1) * scale - inset];
      pen.moveTo(left, top); pen.lineTo(right, bottom);
      pen.moveTo(right, top); pen.lineTo(left, bottom);
      pen.stroke();
    }
  }));
  return canvas;
}

function drawGridding() {
  const holed = layers.filter((layer) => layer.gridding.length);
  if (!holed.length) at("gridding-section").remove();
  for (const layer of holed) {
    const [axis] = layer.gridding;
    const isCut = layer.cone.axes.some((cone) => cone.size > MOST_SQUARES);
    const rule = axis.passes_rule === null ? ""
      : `; the HDC rule ${axis.passes_rule ? "passes" : "fails"} (M2 = ${axis.max_distance})`;
    const lines = [
      layer.gridding.map((g) => `${layer.cone.axes.find((c) => c.axis === g.axis).touched} of ${g.size}`).join(" × ") +
        ` positions read${isCut ? `, the middle ${MOST_SQUARES} drawn` : ""}`,
      `since ${axis.caused_by}${axis.dilations.length ? `, dilations ${axis.dilations.join(", ")}` : ""}${rule}`,
    ];
    if (axis.closing) lines.push(`closed by dilations ${axis.closing.join(", ")}`);
    at("gridding").append(el("figure", {}, el("h3", {}, link(layer, {}, layer.name)), holes(layer),
      el("figcaption", {}, ...lines.map((line) => el("div", {}, line)))));
  }
}

// ---- charts ------------------------------------------------------------------------------------

function drawCharts() {
  for (const { title, of, show } of Object.values(cost)) {
    const all = sum(layers, of);
    if (!all) continue;
    const most = layers.reduce((greatest, layer) => Math.max(greatest, of(layer) || 0), 0);
    const chart = el("svg", {
      viewBox: `0 0 ${layers.length} 100`, preserveAspectRatio: "none", role: "img",
      "aria-label": `${title} of each layer`,
    });
    layers.forEach((layer, x) => {
      const height = 100 * (of(layer) || 0) / most;
      if (!height) return;
      const bar = el("rect", { x: x + 0.06, y: 100 - height, width: 0.88, height, fill: colour(layer) });
      const tip = el("title", { svg: true }, `${layer.name}: ${show(of(layer))} (${percent(of(layer) / all)})`);
      const drawn = [tip, bar];
      if (title === "Time") {
        const roof = 100 * Math.min(layer.time.roofline_ms, layer.time.ms) / most;
        drawn.push(el("rect", { x: x + 0.25, y: 100 - roof, width: 0.5, height: roof, class: "roof" }));
      }
      chart.append(link(layer, { svg: true, tabindex: -1 }, ...drawn));
    });
    const top = [...layers].sort((a, b) => (of(b) || 0) - (of(a) || 0)).slice(0, 3).filter(of);
    const caption = el("figcaption", {}, `${show(most)} at the top. Most: `);
    top.forEach((layer, i) => caption.append(
      i ? ", " : "", link(layer, {}, layer.name), ` ${percent(of(layer) / all)}`));
    if (title === "Time") caption.append("; dark: the least that arithmetic and bytes need here");
    at("charts").append(el("figure", {}, el("h3", {}, title), chart, caption));
  }
}

// ---- findings ----------------------------------------------------------------------------------

function drawFindings() {
  if (!found.findings.length) { at("findings-section").remove(); return; }
  const groups = new Map();
  for (const finding of found.findings) {
    const key = JSON.stringify([finding.what, finding.rewrite, finding.status]);
    groups.set(key, [...(groups.get(key) || []), finding]);
  }
  const saved = (group) => sum(group, (f) => f.saves_macs);
  const named = new Map(layers.map((layer) => [layer.name, layer]));
  const where = ({ layer }) => (named.has(layer) ? link(named.get(layer), {}, layer) : layer);
  const body = el("tbody");
  for (const group of [...groups.values()].sort((a, b) => saved(b) - saved(a))) {
    const [{ what: sentence, rewrite, status }] = group;
    const place = group.length === 1 ? where(group[0])
      : el("details", {}, el("summary", {}, `${group.length} layers`), ...group.map(where));
    body.append(el("tr", {},
      el("td", { class: "words" }, place), el("td", { class: "words" }, sentence),
      el("td", {}, saved(group) ? amount(saved(group)) : ""),
      el("td", {}, amount(sum(group, (f) => f.saves_parameters))),
      el("td", { class: "words" }, `${rewrite} (${status})`)));
  }
  const heads = ["where", "what", "MACs saved", "parameters saved", "rewrite"];
  const isWords = [true, true, false, false, true];
  at("findings").append(el("thead", {}, el("tr", {}, ...heads.map((head, i) =>
    el("th", { scope: "col", class: isWords[i] ? "words" : "" }, head)))), body);
}

// ---- the table ---------------------------------------------------------------------------------

// A module: its layers at any depth, and the modules and layers right in it.
function tree() {
  const root = { name: "", path: "", layers: [], parts: new Map() };
  for (const layer of layers) {
    let node = root;
    node.layers.push(layer);
    for (const part of layer.module ? layer.module.split(".") : []) {
      const path = node.path ? `${node.path}.${part}` : part;
      const key = `module ${part}`;
      if (!node.parts.has(key)) node.parts.set(key, { path, layers: [], parts: new Map() });
      node = node.parts.get(key);
      node.layers.push(layer);
    }
    node.parts.set(`layer ${layer.index}`, { path: layer.name, layers: [layer], layer });
  }
  return root;
}

const last = (row) => row.layers[row.layers.length - 1];
const columns = [
  { key: "name", head: "layer", words: true, of: (r) => r.layers[0].index },
  { key: "what", head: "what", words: true, of: describe, show: (text) => text },
  { key: "output", head: "output", of: (r) => last(r).output.slice(1).reduce((a, b) => a * b, 1), show: (_, r) => last(r).output.slice(1).join("×") },
  { key: "parameters", head: "parameters", of: (r) => sum(r.layers, (l) => l.parameters), show: (n) => (n ? amount(n) : "") },
  { key: "macs", head: "MACs", of: (r) => sum(r.layers, (l) => l.macs), show: (n, r) => (n ? amount(n) : r.layers.every((l) => l.macs === null) ? "unknown" : "") },
  { key: "share", head: "share", of: (r) => sum(r.layers, (l) => l.share), show: (n) => (n ? percent(n) : "") },
  { key: "output_bytes", head: "activations", of: (r) => sum(r.layers, (l) => l.output_bytes), show: (n) => (n ? bytes(n) : "") },
  { key: "cone", head: "sees", of: (r) => { const c = last(r).cone; return !c ? 0 : c.whole_map_by ? Infinity : Math.max(0, ...c.axes.map((a) => a.size)); }, show: (_, r) => field(last(r).cone) },
];
if (isTimed) {
  const roofline = (r) => sum(r.layers, (l) => l.time && l.time.roofline_ms) / columnMs(r);
  columns.push(
    { key: "ms", head: "ms", of: columnMs, show: (n) => (n ? `${Number(n.toPrecision(3))}` : "") },
    { key: "roofline", head: "of roofline", of: (r) => roofline(r) || 0, show: (n) => (n ? percent(n) : "") });
}
function columnMs(row) { return sum(row.layers, (l) => l.time && l.time.ms); }

function describe(row) {
  if (row.layers.length === 1) return what(row.layers[0]);
  const weighty = row.layers.filter((l) => l.macs);
  const counted = new Map();
  for (const l of weighty.length ? weighty : row.layers) counted.set(what(l), (counted.get(what(l)) || 0) + 1);
  const words = [...counted].sort((a, b) => b[1] - a[1]).map(([kind, n]) => (n > 1 ? `${n} ${kind}` : kind));
  return words.slice(0, 3).join(", ") + (words.length > 3 ? ", …" : "");
}

const whole = tree();
const state = { sort: "name", down: false, filter: "", open: new Set(), layer: null };

function sorted(parts) {
  const { of } = columns.find((column) => column.key === state.sort);
  const way = state.down ? -1 : 1;
  const compare = (a, b) => (a < b ? -way : a > b ? way : 0);
  return [...parts.values()].sort((a, b) => compare(of(a), of(b)) || a.layers[0].index - b.layers[0].index);
}

const matches = (layer) =>
  !state.filter || `${layer.name} ${what(layer)} ${layer.kind}`.toLowerCase().includes(state.filter);

function* rows(node, level) {
  for (let part of sorted(node.parts)) {
    const shown = part.layers.filter(matches);
    if (!shown.length) continue;
    // A module of one layer is that layer.
    while (!part.layer && part.parts.size === 1) [part] = part.parts.values();
    if (shown.length === 1) part = { path: shown[0].name, layer: shown[0] };
    yield { ...part, layers: shown, level };
    if (!part.layer && (state.open.has(part.path) || state.filter)) yield* rows(part, level + 1);
  }
}

function cells(row) {
  const { layer, path, level } = row;
  const name = el("td", { class: "words", title: path });
  name.style.paddingLeft = `${0.6 + 1.1 * level}rem`;
  if (layer) {
    name.append(link(layer, {}, layer.name));
  } else {
    const isOpen = state.open.has(path) || !!state.filter;
    const button = el("button", { class: "fold", type: "button", "aria-expanded": isOpen, "aria-label": `fold ${path}` }, isOpen ? "▾" : "▸");
    button.addEventListener("click", () => { toggle(path); });
    name.append(button, ` ${path}`);
  }
  return [name, ...columns.slice(1).map((column) => {
    const value = column.of(row);
    const cell = el("td", { class: column.words ? "words" : column.key }, column.show(value, row));
    if (column.key === "share") cell.style.setProperty("--share", `${100 * value}%`);
    return cell;
  })];
}

function toggle(path) {
  if (!state.open.delete(path)) state.open.add(path);
  drawLayers();
  for (const button of document.querySelectorAll("#layers button.fold")) {
    if (button.parentElement.title === path) button.focus();
  }
}

function drawLayers() {
  const heads = columns.map(({ key, head, words }) => {
    const isSorted = key === state.sort;
    const arrow = isSorted ? (state.down ? " ↓" : " ↑") : "";
    const turn = isSorted && state.down ? `${key}-up` : isSorted ? key : ["name", "what"].includes(key) ? `${key}-up` : key;
    return el("th", { scope: "col", class: words ? "words" : "", "aria-sort": isSorted ? (state.down ? "descending" : "ascending") : "none" },
      el("a", { href: `#sort=${turn}` }, head + arrow));
  });
  const body = el("tbody");
  for (const row of rows(whole, 0)) {
    const isChosen = row.layer && row.layer.index === state.layer;
    body.append(el("tr", { class: [row.layer ? "" : "module", isChosen ? "chosen" : ""].join(" ").trim() }, ...cells(row)));
  }
  at("layers").replaceChildren(el("thead", {}, el("tr", {}, ...heads)), body);
  const shown = layers.filter(matches);
  at("shown").textContent = state.filter
    ? `${shown.length} of ${layers.length} layers, ${amount(sum(shown, (l) => l.macs))} MACs` : "";
}

function modules(node = whole) {
  return [...(node.parts || new Map()).values()].filter((part) => !part.layer)
    .flatMap((part) => [part.path, ...modules(part)]);
}

// ---- what the reader chooses -------------------------------------------------------------------

function choose(layer) {
  state.layer = layer.index;
  const parts = layer.module.split(".");
  parts.forEach((_, i) => state.open.add(parts.slice(0, i + 1).join(".")));
  document.querySelectorAll("[data-layer]").forEach((a) =>
    a.classList.toggle("chosen", Number(a.dataset.layer) === layer.index));
  drawDetail(layer);
  const step = steps.findLastIndex((s) => s.index <= layer.index);
  if (steps.length && layer.cone) drawCone(Math.max(step, 0));
}

function follow() {
  const wishes = new URLSearchParams(location.hash.slice(1));
  const layer = layers.find((l) => `${l.index}` === wishes.get("layer"));
  if (layer) choose(layer);
  const [key, way] = (wishes.get("sort") || "").split("-");
  if (columns.some((column) => column.key === key)) Object.assign(state, { sort: key, down: way !== "up" });
  if (wishes.has("filter")) { at("filter").value = wishes.get("filter"); state.filter = at("filter").value.toLowerCase(); }
  if (wishes.has("unfold")) state.open = new Set(modules());
  if (steps[wishes.get("step")]) drawCone(Number(wishes.get("step")));
  drawLayers();
}

at("filter").addEventListener("input", () => { state.filter = at("filter").value.toLowerCase(); drawLayers(); });
at("unfold").addEventListener("click", () => { state.open = new Set(modules()); drawLayers(); });
at("fold").addEventListener("click", () => { state.open.clear(); drawLayers(); });
window.addEventListener("hashchange", follow);

drawTotals();
drawStrip();
startCone();
drawGridding();
drawCharts();
drawFindings();
follow();
