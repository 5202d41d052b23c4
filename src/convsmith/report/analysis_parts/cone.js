// SPDX-License-Identifier: Apache-2.0
// What an output sees, layer by layer.

// Layers that see just what the one before saw are passed over.
let before = null;
const steps = layers.filter(({ cone }) => {
  const seen = cone && (cone.axes.length || cone.whole_map_by) ? JSON.stringify(cone) : before;
  const isNew = seen !== before;
  before = seen;
  return isNew;
});
const shapeOf = (cone) => found.inputs.find((x) => x.name === cone.input).shape;
// Axis 1 holds channels, or the rows of an image without a batch.
const hasRows = (cone) => shapeOf(cone).length > 3 || layers.some((layer) =>
  layer.cone && layer.cone.input === cone.input && layer.cone.axes.some((c) => c.axis === 1));

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
  const [top, bottom] = hasRows(layer.cone) ? span(layer, rank - 2) : [0, extent(layer)[1] - 1];
  return el("rect", {
    x: left, y: top, width: right - left + 1, height: bottom - top + 1,
    "vector-effect": "non-scaling-stroke", ...attributes,
  });
}

// Width and height of what is drawn; a sequence becomes a band.
function extent(layer) {
  const shape = shapeOf(layer.cone);
  const width = shape[shape.length - 1];
  return [width, hasRows(layer.cone) ? shape[shape.length - 2] : Math.ceil(width / 8)];
}

function background(width, height) {
  if (image) {
    return [el("image", { href: image, x: 0, y: 0, width, height, preserveAspectRatio: "none" })];
  }
  const every = 2 ** Math.max(0, Math.ceil(Math.log2(Math.max(width, height) / 64)));
  const line = { stroke: "var(--line)", "stroke-width": 1, "vector-effect": "non-scaling-stroke" };
  const drawn = [el("rect", { x: 0, y: 0, width, height, fill: "var(--paper)" })];
  for (let x = 0; x <= width; x += every) {
    drawn.push(el("line", { x1: x, x2: x, y1: 0, y2: height, ...line }));
  }
  for (let y = 0; y <= height; y += every) {
    drawn.push(el("line", { x1: 0, x2: width, y1: y, y2: y, ...line }));
  }
  return drawn;
}

// Of a volume, the two last axes are drawn: where the others are cut, and what is seen along them.
function cuts(layer) {
  const shape = shapeOf(layer.cone);
  const names = shape.length === 5 ? ["depth"] : shape.slice(2, -2).map((_, i) => `axis ${i + 2}`);
  return shape.length < 5 ? [] : names.map((name, i) => {
    const [first, last] = span(layer, i + 2);
    const place = Math.min(Math.max(Math.floor((first + last) / 2), 0), shape[i + 2] - 1);
    return `drawn: the slice at ${name} ${place} of 0 to ${shape[i + 2] - 1}; along it the middle ` +
      `output sees ${first} to ${last}`;
  });
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
  const earlier = steps.slice(0, number)
    .filter(({ cone }) => cone.input === layer.cone.input && !cone.whole_map_by);
  const thin = { fill: "none", stroke: "var(--mark)", "stroke-opacity": 0.35 };
  const border = { stroke: "var(--soft)", "vector-effect": "non-scaling-stroke" };
  const isWhole = layer.cone.whole_map_by;
  at("cone").replaceChildren(el("svg", {
    viewBox: view(layer), role: "img", "aria-label": `what one output of ${layer.name} sees`,
  },
    ...background(width, height),
    ...(heatOf(layer)
      ? [el("image", {
        href: heatOf(layer), x: 0, y: 0, width, height, preserveAspectRatio: "none", class: "heat",
      })]
      : []),
    el("rect", { x: 0, y: 0, width, height, fill: "none", ...border }),
    ...earlier.map((step) => rectangle(step, thin)),
    rectangle(layer, {
      fill: "var(--mark)", "fill-opacity": 0.22, stroke: "var(--mark)", "stroke-width": 2.5,
      "stroke-dasharray": isWhole ? "6 4" : null, class: "cone-now",
    })));
  const axes = layer.cone.axes;
  const sizes = times(axes.map((axis) => axis.size));
  const inside = axes.reduce((product, axis) => product * (1 - axis.outside), 1);
  const lines = isWhole
    ? [`sees all places, since ${isWhole.layer}: ${isWhole.why}`]
    : [`sees ${sizes} positions of ${times(axes.map(({ axis }) => shapeOf(layer.cone)[axis]))}`,
       `a step of the output is ${times(axes.map((axis) => fraction(axis.stride)))} of the input`,
       `output 0 sees ${axes.map(({ a, b }) => `[${fraction(a)}, ${fraction(b)}]`).join(" × ")}`];
  lines.push(...cuts(layer));
  if (!isWhole && inside < 1) {
    lines.push(`${percent(1 - inside)} of it lies beyond the input, in padding`);
  }
  // Outputs of what up-samples take turns at seeing a little more on one side or the other.
  const isDrawnWider = axes.some(({ size, a, b }) => exact(b) - exact(a) + 1 > size);
  if (!isWhole && isDrawnWider) {
    lines.push("outputs differ in turn; what is drawn holds any of them");
  }
  const holed = axes.filter((axis) => !isWhole && axis.touched < axis.size);
  const read = holed.map((axis) => `${axis.touched} of ${axis.size}`).join(" × ");
  if (layer.effective) lines.push(heard(layer.effective));
  if (read) lines.push(`holes: only ${read} are ever read`);
  at("cone-numbers").replaceChildren(
    el("h3", {}, link(layer, {}, layer.name)),
    el("p", { class: "lead" },
      `${what(layer)}, step ${number + 1} of ${steps.length}, output ${times(layer.output)}`),
    el("ul", {}, ...lines.map((line) => el("li", {}, line))));
  at("step").value = number;
  at("step").setAttribute("aria-valuetext", layer.name);
}

function startCone() {
  if (!steps.length) { at("cone-section").remove(); return; }
  at("cone-lead").textContent =
    "The part of the input that the middle output of a layer depends on, to scale" +
    (image
      ? ", on your image, cut and scaled to the input's shape."
      : ", on a grid of the input's pixels.") +
    (steps.some((step) => shapeOf(step.cone).length > 4)
      ? " Of a volume one slice is drawn, its height and width." : "");
  at("step").max = steps.length - 1;
  at("step").addEventListener("input", () => drawCone(Number(at("step").value)));
  const last = steps.findLastIndex((s) => !s.cone.whole_map_by);
  drawCone(Math.max(last, 0));
}
