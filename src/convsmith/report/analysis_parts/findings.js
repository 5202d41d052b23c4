// SPDX-License-Identifier: Apache-2.0
// What could be cheaper.

function drawFindings() {
  if (!found.findings.length) { at("findings-section").remove(); return; }
  const groups = new Map();
  for (const finding of found.findings) {
    const key = JSON.stringify([finding.what, finding.rewrite, finding.status]);
    groups.set(key, [...(groups.get(key) || []), finding]);
  }
  const saved = (group) => sum(group, (f) => f.saves_macs);
  const named = new Map(layers.map((layer) => [layer.name, layer]));
  const where = ({ layer }) => (named.has(layer) ? link(named.get(layer), {}, layer) : layer);
  const body = el("tbody");
  for (const group of [...groups.values()].sort((a, b) => saved(b) - saved(a))) {
    const [{ what: sentence, rewrite, status }] = group;
    const place = group.length === 1 ? where(group[0])
      : el("details", {}, el("summary", {}, `${group.length} layers`), ...group.map(where));
    body.append(el("tr", {},
      el("td", { class: "words" }, place), el("td", { class: "words" }, sentence),
      el("td", {}, saved(group) ? amount(saved(group)) : ""),
      el("td", {}, amount(sum(group, (f) => f.saves_parameters))),
      el("td", { class: "words" }, `${rewrite} (${status})`)));
  }
  const heads = ["where", "what", "MACs saved", "parameters saved", "rewrite"];
  const isWords = [true, true, false, false, true];
  at("findings").append(el("thead", {}, el("tr", {}, ...heads.map((head, i) =>
    el("th", { scope: "col", class: isWords[i] ? "words" : "" }, head)))), body);
}
