// SPDX-License-Identifier: Apache-2.0
// Totals, the strip of layers, and what is known of the chosen one.

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
    const sizes = times(cone.axes.map((axis) => axis.size));
    fact("receptive field", sizes, `stride ${strides}, at ${cone.layer}`);
  } else {
    fact("receptive field", "unbounded", "no layer's cone ends");
  }
  const elementwise = amount(total.elementwise_elements);
  if (total.norm_elements) {
    fact("norms", amount(total.norm_elements), `numbers; elementwise ${elementwise}`);
  } else {
    fact("elementwise work", elementwise, "numbers; no norms");
  }
  found.notes.forEach((note) => at("notes").append(el("li", {}, `• ${note}`)));
}

const link = (layer, attributes, ...children) =>
  el("a", { href: `#layer=${layer.index}`, "data-layer": layer.index, ...attributes }, ...children);

function drawStrip() {
  const measure = ["ms", "macs", "output_bytes"].find((c) => cost[c] && sum(layers, cost[c].of));
  if (!measure) return;
  const { title, of, show } = cost[measure];
  const all = sum(layers, of);
  const shared = title === "MACs" ? title : title.toLowerCase();
  at("strip-lead").textContent =
    `From input to output, each layer as wide as its share of the ${shared}.`;
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
  fact("what", what(layer) + (layer.part_of ? `, part of ${layer.part_of}` : ""));
  fact("operator", layer.operator);
  fact("called at", layer.line);
  fact("in", layer.inputs.map(times).join(", "));
  fact("out", times(layer.output));
  for (const [name, value] of Object.entries(layer.options)) {
    fact(name.replace("_", " "), JSON.stringify(value));
  }
  const live = layer.macs && `${amount(layer.macs)}, ${percent(layer.live_macs / layer.macs)} live`;
  fact("MACs", layer.macs === null ? "cannot be counted" : live);
  fact("numbers worked through", layer.elements && amount(layer.elements));
  fact("parameters", layer.parameters && layer.parameters.toLocaleString("en"));
  const moved = [layer.input_bytes, layer.output_bytes, layer.weight_bytes];
  fact("bytes in, out, weights", moved.map(bytes).join(", "));
  fact("flops per byte", layer.intensity && layer.intensity.toPrecision(3));
  fact("sees", field(layer.cone));
  if (layer.time) fact("time, roofline", `${ms(layer.time.ms)}, ${ms(layer.time.roofline_ms)}`);
  const notes = layer.notes.map((note) => el("li", {}, `• ${note}`));
  if (layer.effective) fact("listens to", heard(layer.effective));
  const shown = el("div", { class: "pictures" }, ...picturesOf(layer));
  at("detail").replaceChildren(el("h3", {}, layer.name), facts, shown, el("ul", {}, ...notes));
}
