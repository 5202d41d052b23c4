// SPDX-License-Identifier: Apache-2.0
// Holes in what an output sees.

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
      const [left, right] = [x * scale + inset, (x + 1) * scale - inset];
      const [top, bottom] = [y * scale + inset, (y + 1) * scale - inset];
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
    const coneOf = (g) => layer.cone.axes.find((cone) => cone.axis === g.axis);
    const read = layer.gridding.map((g) => `${coneOf(g).touched} of ${g.size}`).join(" × ");
    const dilations = axis.dilations.length ? `, dilations ${axis.dilations.join(", ")}` : "";
    const lines = [
      `${read} positions read${isCut ? `, the middle ${MOST_SQUARES} drawn` : ""}`,
      `since ${axis.caused_by}${dilations}${rule}`,
    ];
    if (axis.closing) lines.push(`closed by dilations ${axis.closing.join(", ")}`);
    const head = el("h3", {}, link(layer, {}, layer.name));
    at("gridding").append(el("figure", {}, head, holes(layer),
      el("figcaption", {}, ...lines.map((line) => el("div", {}, line)))));
  }
}
