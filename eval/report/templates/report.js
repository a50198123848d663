// Draws the charts, fills in the curves of the chosen language, sorts, filters and saves the tables.
"use strict";
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const specs = read("specs");
const curves = read("curve-data");
const trade = read("trade-data");
const experts = read("expert-data");
const field = (id) => document.getElementById(id).value;
const FILTERS = ["search", "by-script", "by-family", "by-verdict"];
const UNKNOWN = "–"; // what a table shows where there is no value
const NARROW = 760; // CSS pixels below which 101 columns are no longer legible

// Colours are CSS variables, which SVG resolves: dark mode needs no second drawing.
const embed = (element, spec) =>
  vegaEmbed(element, spec, { actions: false, renderer: "svg", ast: true, mode: "vega-lite" }).then(
    ({ view }) =>
      view.addEventListener("click", (_, item) => {
        if (item?.datum?.code) location.hash = `language-${item.datum.code}`;
      }),
  );

function draw(element) {
  if (element.closest("details:not([open])")) return null; // drawn when opened
  const narrow = element.clientWidth < NARROW && element.dataset.tall;
  const name = narrow ? element.dataset.tall : element.dataset.wide;
  if (element.dataset.drawn === name) return null;
  element.dataset.drawn = name;
  const spec = structuredClone(specs[name]);
  if (name === "curves") spec.datasets = curveRows(field("curve-language"), Number(field("curve-from")));
  if (name in trade) spec.datasets = trade[name][field("trade-script")];
  if ("layer" in element.dataset) {
    spec.datasets = heatRows(experts[element.dataset.experts], element.dataset.layer);
  }
  return embed(element, spec);
}

function heatRows({ languages, layers }, layer) {
  const { experts: numbers, shares } = layers[layer];
  const row = (language, at) => numbers.map((expert, column) => {
    const share = shares[at][column];
    return { language, expert, share, times: share * numbers.length };
  });
  return { heat: languages.flatMap(row) };
}

function curveRows(language, from) {
  const [baseline, candidate] = curves.sides;
  const found = meeting(language);
  // The steep first steps flatten the rest, so they are cut unless they contain the crossing. A
  // model that ends before, such as an imported one, is drawn whole.
  const start = Math.min(from * baseline.steps.at(-1), found.step ?? Infinity);
  const shown = (side, step) => step >= start || side.steps.at(-1) < start;
  const rows = (side, losses, run) =>
    side.steps
      .map((step, at) => ({ side: side.name, run, step, loss: losses[language][at] }))
      .filter(({ step }) => shown(side, step));
  const curve = curves.sides.flatMap((side) => [
    ...rows(side, side.losses, null),
    ...side.runs.flatMap((losses, run) => rows(side, losses, run)),
  ]);
  document.getElementById("curve-text").textContent = curveText(language, found);
  // An invisible rule needs a position too: Vega warns of a field without values.
  const reach = {
    target: found.target, step: found.step ?? candidate.steps.at(-1), reached: found.step !== null,
  };
  return { curve, reach: [reach] };
}

// The side that ends better, the other one's final loss, and the step at which it is there, or before
// which where that is a bound.
function meeting(language) {
  const ends = (side) => side.losses[language].at(-1);
  const [baseline, candidate] = curves.sides;
  const [faster, slower] =
    ends(candidate) <= ends(baseline) ? [candidate, baseline] : [baseline, candidate];
  return { faster, slower, target: ends(slower), ...stepTo(faster, language, ends(slower)) };
}

function curveText(language, { faster, slower, step, isBound }) {
  const ends = curves.sides.map((one) => `${one.name} ${one.losses[language].at(-1).toFixed(3)}`);
  const first = `Final losses${language === "all" ? " over all tokens" : ""}: ${ends.join(", ")}.`;
  if (step === null) return first;
  const of = faster.steps.at(-1);
  const extrapolated = step < faster.steps.find((one) => one > 0);
  const at = isBound ? "at or before" : extrapolated ? "by extrapolation, at" : "at";
  return `${first} ${faster.name} reaches ${slower.name}’s ${at} step ${Math.round(step)} of ${of}.`;
}

// As in eval/speed_up.py: after the log steps during which the curve lies above the target.
function stepTo(side, language, target) {
  const points = side.steps.map((step, at) => [Math.log(step), side.losses[language][at] - target]);
  const trained = points.filter(([step]) => Number.isFinite(step));
  if (trained.length < 2) return { step: null, isBound: false };
  const [[start, first], [second, next]] = trained;
  const below = Math.max(-first, 0);
  const back = below === 0 ? 0 : below < first - next ? below / (first - next) : 1;
  let steps = start - back * (second - start);
  for (let at = 1; at < trained.length; at += 1) {
    const [[before, a], [after, b]] = [trained[at - 1], trained[at]];
    const size = Math.abs(a) + Math.abs(b);
    steps += (after - before) * (size ? (Math.max(a, 0) + Math.max(b, 0)) / size : 0);
  }
  return { step: Math.exp(steps), isBound: back === 1 };
}

function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const head = heads[column];
  const numeric = head.classList.contains("number");
  const before = head.getAttribute("aria-sort");
  const first = numeric ? "descending" : "ascending";
  const other = numeric ? "ascending" : "descending";
  const order = before === first ? other : first;
  heads.forEach((one) => one.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const text = (row) => row.cells[column].textContent.trim();
  const value = (row) => Number(row.cells[column].dataset.value ?? text(row));
  const ordered = (a, b) => sign * (numeric ? value(a) - value(b) : text(a).localeCompare(text(b)));
  const missing = (row) => text(row) === UNKNOWN;
  const compare = (a, b) => missing(a) - missing(b) || (missing(a) ? 0 : ordered(a, b));
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compare)); // rows without a value come last
}

function filterLanguages() {
  const chosen = { script: field("by-script"), family: field("by-family"), verdict: field("by-verdict") };
  const search = field("search").trim().toLowerCase();
  let shown = 0;
  for (const row of document.getElementById("language-table").tBodies[0].rows) {
    const fits =
      row.cells[0].textContent.toLowerCase().includes(search) &&
      Object.entries(chosen).every(([key, value]) => !value || row.dataset[key] === value);
    row.hidden = !fits;
    shown += fits;
  }
  document.getElementById("shown").textContent = `${shown} ${shown === 1 ? "row" : "rows"}`;
}

// The language of an address such as report/index.html#language-sw: its row and its curve.
function followLink() {
  const code = /^#language-(.+)$/.exec(location.hash)?.[1];
  const row = code && document.getElementById(`language-${code}`);
  if (!row) return;
  if (row.hidden) {
    for (const id of FILTERS) document.getElementById(id).value = "";
    filterLanguages();
    row.scrollIntoView({ block: "center" });
  }
  const chosen = document.getElementById("curve-language");
  const known = Array.from(chosen.options).some((option) => option.value === code);
  if (!known || chosen.value === code) return;
  chosen.value = code;
  chosen.dispatchEvent(new Event("change"));
}

function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// The text of a cell, with a space between its parts.
const wordsOf = (node) =>
  node.childNodes.length ? [...node.childNodes].map(wordsOf).join(" ") : node.textContent;

// Numbers in full where a cell has them, and nothing for a missing one. No text of strangers is a
// formula of a spreadsheet.
function csvCell(cell) {
  const shown = wordsOf(cell).trim().replace(/\s+/g, " ");
  if (shown === UNKNOWN) return "";
  const plain = shown.replace(/(?<=\d) (?=\d{3})/g, "").replace(/\u2212/g, "-");
  const text = cell.dataset.value ?? (cell.classList.contains("number") ? plain : shown);
  const isNumber = !Number.isNaN(Number(text)) || /^[+-]?[\d.]+ to [+-]?[\d.]+$/.test(text);
  const safe = /^[=+\-@]/.test(text) && !isNumber ? `'${text}` : text;
  return /[",]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

const csvOf = (table) =>
  [...table.rows].map((row) => `${[...row.cells].map(csvCell).join(",")}\r\n`).join("");

// A drawing that stands alone: with the page's colours and background instead of CSS variables.
function svgOf(chart) {
  const drawn = chart.querySelector("svg").cloneNode(true);
  const style = getComputedStyle(document.documentElement);
  drawn.style.background = "var(--paper)";
  const text = new XMLSerializer().serializeToString(drawn);
  return text.replace(/var\((--[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
}

// One line below a table or a chart: how to see the rest of it, and how to keep it.
function addTools(element, kind, contents, offered = true) {
  const section = element.closest("section").id;
  const before = document.querySelectorAll(`#${section} .save[data-kind="${kind}"]`).length;
  const tools = document.createElement("p");
  const hint = document.createElement("span");
  const button = document.createElement("button");
  tools.className = "tools";
  hint.className = "hint";
  hint.hidden = true;
  hint.textContent = "↔ scroll sideways for more columns";
  button.type = "button";
  button.className = "save";
  button.dataset.kind = kind;
  button.textContent = `Save as ${kind.toUpperCase()}`;
  button.ariaLabel = `${button.textContent}: ${element.ariaLabel.split(/[;,]/)[0]}`;
  const name = `${section}${before ? `-${before + 1}` : ""}.${kind}`;
  const type = { csv: "text/csv;charset=utf-8", svg: "image/svg+xml" }[kind];
  button.addEventListener("click", () => save(name, type, contents(element)));
  tools.append(hint, ...(offered ? [button] : []));
  element.after(tools);
  return hint;
}

function showOverflow(box, hint) {
  const beyond = box.scrollWidth - box.clientWidth;
  const sides = { left: box.scrollLeft > 1, right: box.scrollLeft < beyond - 1 };
  box.dataset.more = Object.keys(sides).filter((side) => sides[side]).join(" ");
  hint.hidden = beyond <= 1;
}

if (innerWidth < NARROW) {
  // On a phone a heat map has one row per language, so only the first one starts open.
  [...document.querySelectorAll("details.layer")].slice(1).forEach((layer) => (layer.open = false));
}
for (const box of document.querySelectorAll(".scroll")) {
  const table = box.querySelector("table"); // a linked one has an address with every field
  const hint = addTools(box, "csv", () => csvOf(table), !("linked" in table.dataset));
  const show = () => showOverflow(box, hint);
  box.addEventListener("scroll", show, { passive: true });
  const resized = new ResizeObserver(show);
  [box, table].forEach((one) => resized.observe(one));
}
const charts = [...document.querySelectorAll(".chart")];
for (const chart of charts) addTools(chart, "svg", svgOf);
const drawing = Promise.all(charts.map(draw));
drawing.then(() => (document.documentElement.dataset.ready = "charts"));
window.addEventListener("resize", () => charts.forEach(draw));
for (const id of ["curve-language", "curve-from"]) {
  document.getElementById(id).addEventListener("change", () => {
    const chart = document.getElementById("curve-chart");
    delete chart.dataset.drawn;
    draw(chart);
  });
}
document.getElementById("trade-script")?.addEventListener("change", () => {
  for (const chart of charts.filter(({ dataset }) => dataset.wide in trade)) {
    delete chart.dataset.drawn;
    draw(chart);
  }
});
for (const layer of document.querySelectorAll("details.layer")) {
  layer.addEventListener("toggle", () => layer.querySelectorAll(".chart").forEach(draw));
}
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((cell, column) =>
    cell.querySelector("button")?.addEventListener("click", () => sortBy(table, column)),
  );
}
for (const id of FILTERS) {
  document.getElementById(id).addEventListener("input", filterLanguages);
}
window.addEventListener("hashchange", followLink);
followLink();
