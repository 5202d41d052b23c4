// SPDX-License-Identifier: Apache-2.0
// Elements and numbers. Names are a stranger's: they become text nodes, never markup.
"use strict";
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

// The kinds that cost most get the first of these.
const PALETTE = [
  "#3b7dd8", "#e08a1e", "#2a9d74", "#c8559b", "#8a63c9", "#b8a01c", "#39a9c4", "#d1544a",
];
