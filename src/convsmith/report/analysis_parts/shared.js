// SPDX-License-Identifier: Apache-2.0
// Draws an analysis. Names in it are a stranger's: they become text nodes, never markup.
// What the reader chooses stands in the address: #layer=12&sort=macs&filter=conv&unfold.
"use strict";
const { analysis: found, image, pictures } = JSON.parse(document.getElementById("data").textContent);
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
  const isWhole = number >= 1000 || number % 1 === 0;
  const digits = isWhole ? Math.round(number) : Number(number.toPrecision(3));
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

const PALETTE = [
  "#3b7dd8", "#e08a1e", "#2a9d74", "#c8559b", "#8a63c9", "#b8a01c", "#39a9c4", "#d1544a",
];
const what = (layer) => layer.family || layer.kind;
const kinds = [...new Set(layers.map(what))]
  .map((kind) => [kind, sum(layers.filter((l) => what(l) === kind), (l) => l.macs)])
  .sort((a, b) => b[1] - a[1])
  .map(([kind]) => kind);
const colour = (layer) => PALETTE[kinds.indexOf(what(layer))] || "#8b949e";
