// SPDX-License-Identifier: Apache-2.0
// Where the cost lies.

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
      const place = { x: x + 0.06, y: 100 - height, width: 0.88, height };
      const bar = el("rect", { ...place, fill: colour(layer) });
      const value = `${show(of(layer))} (${percent(of(layer) / all)})`;
      const tip = el("title", { svg: true }, `${layer.name}: ${value}`);
      const drawn = [tip, bar];
      if (title === "Time") {
        const roof = 100 * Math.min(layer.time.roofline_ms, layer.time.ms) / most;
        const least = { x: x + 0.25, y: 100 - roof, width: 0.5, height: roof };
        drawn.push(el("rect", { ...least, class: "roof" }));
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
