// SPDX-License-Identifier: Apache-2.0
// Kernels and feature maps of the chosen layer; and what outputs really listen to.

const [WIDEST, HIGHEST] = [560, 400];

function picture(title, { src, width, height, words }) {
  const fits = Math.floor(Math.min(WIDEST / width, HIGHEST / height));
  const scale = Math.max(1, Math.min(12, fits));
  const drawn = el("img", { src, alt: words, width: width * scale, height: height * scale });
  return el("figure", {}, el("h4", {}, title), drawn, el("figcaption", {}, words));
}

function picturesOf(layer) {
  const { kernels, maps } = pictures[layer.index] || {};
  return [
    kernels && picture("Weights", kernels),
    maps && picture("Feature maps of the image", maps),
  ].filter(Boolean);
}

const heatOf = (layer) => (pictures[layer.index] || {}).heat;

function heard({ images, half, most }) {
  const on = images === 1 ? "this image" : `${images} images`;
  return `on ${on}: half of what it listens to in ${times(half)}, 95\u00a0% in ${times(most)}`;
}

function drawListening() {
  const measured = layers.filter((layer) => layer.effective);
  if (!measured.length) at("listening-section").remove();
  for (const layer of measured) {
    const heat = heatOf(layer);
    const [width, height] = extent(layer);
    const line = { fill: "none", stroke: "var(--soft)", "vector-effect": "non-scaling-stroke" };
    const drawn = heat && el("svg", {
      viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `what the middle output of ${layer.name} listens to`,
    },
      el("image", { href: heat, x: 0, y: 0, width, height, preserveAspectRatio: "none" }),
      rectangle(layer, { ...line, "stroke-dasharray": "4 3" }),
      el("rect", { x: 0, y: 0, width, height, ...line }));
    at("listening").append(el("figure", {},
      el("h3", {}, link(layer, {}, layer.name)), ...(drawn ? [drawn] : []),
      el("figcaption", {}, `sees ${field(layer.cone)}; ${heard(layer.effective)}`)));
  }
}
