// SPDX-License-Identifier: Apache-2.0
// What the reader chooses; and the start of all.

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
  if (columns.some((column) => column.key === key)) {
    Object.assign(state, { sort: key, down: way !== "up" });
  }
  if (wishes.has("filter")) {
    at("filter").value = wishes.get("filter");
    readFilter();
  }
  if (wishes.has("unfold")) state.open = new Set(modules());
  if (steps[wishes.get("step")]) drawCone(Number(wishes.get("step")));
  drawLayers();
}

function readFilter() {
  state.filter = at("filter").value.toLowerCase();
}

function redrawAfter(change) {
  return () => { change(); drawLayers(); };
}

at("filter").addEventListener("input", redrawAfter(readFilter));
at("unfold").addEventListener("click", redrawAfter(() => { state.open = new Set(modules()); }));
at("fold").addEventListener("click", redrawAfter(() => state.open.clear()));
window.addEventListener("hashchange", follow);

drawTotals();
drawStrip();
startCone();
drawListening();
drawGridding();
drawCharts();
drawFindings();
follow();
