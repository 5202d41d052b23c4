// SPDX-License-Identifier: Apache-2.0
// The table: a tree of modules that sorts, filters and folds.

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
const total = (of) => (row) => sum(row.layers, of);
const unlessZero = (show) => (n) => (n ? show(n) : "");

// What a row is sorted by, and how that is shown.
const columns = [
  { key: "name", head: "layer", words: true, of: (row) => row.layers[0].index },
  { key: "what", head: "what", words: true, of: describe, show: (text) => text },
  {
    key: "output", head: "output",
    of: (row) => last(row).output.slice(1).reduce((a, b) => a * b, 1),
    show: (_, row) => last(row).output.slice(1).join("×"),
  },
  {
    key: "parameters", head: "parameters",
    of: total((layer) => layer.parameters), show: unlessZero(amount),
  },
  { key: "macs", head: "MACs", of: total((layer) => layer.macs), show: showMacs },
  { key: "share", head: "share", of: total((layer) => layer.share), show: unlessZero(percent) },
  {
    key: "output_bytes", head: "activations",
    of: total((layer) => layer.output_bytes), show: unlessZero(bytes),
  },
  { key: "cone", head: "sees", of: reach, show: (_, row) => field(last(row).cone) },
];
const took = total((layer) => layer.time && layer.time.ms);
const least = total((layer) => layer.time && layer.time.roofline_ms);
if (isTimed) {
  columns.push(
    { key: "ms", head: "ms", of: took, show: unlessZero((n) => `${Number(n.toPrecision(3))}`) },
    {
      key: "roofline", head: "of roofline",
      of: (row) => least(row) / took(row) || 0, show: unlessZero(percent),
    });
}

function showMacs(n, row) {
  return n ? amount(n) : row.layers.every((layer) => layer.macs === null) ? "unknown" : "";
}

function reach(row) {
  const { cone } = last(row);
  return !cone ? 0 : cone.whole_map_by ? Infinity : Math.max(0, ...cone.axes.map((a) => a.size));
}

function describe(row) {
  if (row.layers.length === 1) return what(row.layers[0]);
  const weighty = row.layers.filter((l) => l.macs);
  const counted = new Map();
  for (const kind of (weighty.length ? weighty : row.layers).map(what)) {
    counted.set(kind, (counted.get(kind) || 0) + 1);
  }
  const words = [...counted].sort((a, b) => b[1] - a[1])
    .map(([kind, n]) => (n > 1 ? `${n} ${kind}` : kind));
  return words.slice(0, 3).join(", ") + (words.length > 3 ? ", …" : "");
}

const whole = tree();
const state = { sort: "name", down: false, filter: "", open: new Set(), layer: null };

function sorted(parts) {
  const { of } = columns.find((column) => column.key === state.sort);
  const way = state.down ? -1 : 1;
  const compare = (a, b) => (a < b ? -way : a > b ? way : 0);
  const order = (a, b) => a.layers[0].index - b.layers[0].index;
  return [...parts.values()].sort((a, b) => compare(of(a), of(b)) || order(a, b));
}

const words = (layer) => `${layer.name} ${what(layer)} ${layer.kind}`.toLowerCase();
const matches = (layer) => words(layer).includes(state.filter);

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
    const says = { "aria-expanded": isOpen, "aria-label": `fold ${path}` };
    const button = el("button", { class: "fold", type: "button", ...says }, isOpen ? "▾" : "▸");
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
    // Numbers start with the greatest, words with the first; a second click turns them round.
    const turnsUp = isSorted ? state.down : words;
    const now = !isSorted ? "none" : state.down ? "descending" : "ascending";
    const arrow = { none: "", descending: " ↓", ascending: " ↑" }[now];
    return el("th", { scope: "col", class: words ? "words" : "", "aria-sort": now },
      el("a", { href: `#sort=${key}${turnsUp ? "-up" : ""}` }, head + arrow));
  });
  const body = el("tbody");
  for (const row of rows(whole, 0)) {
    const isChosen = row.layer && row.layer.index === state.layer;
    const look = !row.layer ? "module" : isChosen ? "chosen" : "";
    body.append(el("tr", { class: look }, ...cells(row)));
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
