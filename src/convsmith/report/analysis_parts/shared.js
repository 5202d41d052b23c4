// SPDX-License-Identifier: Apache-2.0
// Draws an analysis. What the reader chooses stands in the address:
// #layer=12&sort=macs&filter=conv&unfold.
const { analysis: found, image, pictures } = JSON.parse(document.getElementById("data").textContent);
const layers = found.layers;

const cost = {
  macs: { title: "MACs", of: (l) => l.macs, show: amount },
  parameters: { title: "Parameters", of: (l) => l.parameters, show: amount },
  output_bytes: { title: "Activation memory", of: (l) => l.output_bytes, show: bytes },
};
const isTimed = layers.some((l) => l.time);
if (isTimed) cost.ms = { title: "Time", of: (l) => l.time && l.time.ms, show: ms };

// ---- colours: the kinds that cost most come first ----------------------------------------------

const what = (layer) => layer.family || layer.kind;
const kinds = [...new Set(layers.map(what))]
  .map((kind) => [kind, sum(layers.filter((l) => what(l) === kind), (l) => l.macs)])
  .sort((a, b) => b[1] - a[1])
  .map(([kind]) => kind);
const colour = (layer) => PALETTE[kinds.indexOf(what(layer))] || "#8b949e";
