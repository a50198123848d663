// Uses the finished report as a reader would, and leaves what it found in the title.
const wait = (test) => new Promise((done) => {
  const look = () => (test() ? done() : setTimeout(look, 20));
  look();
});
(async () => {
  await wait(() => document.documentElement.dataset.ready);
  const first = () =>
    document.querySelector("#language-table tbody tr:not([hidden]) th").textContent;
  const click = (name) => [...document.querySelectorAll("#language-table thead button")]
    .find((one) => one.textContent.startsWith(name)).click();
  const found = { charts: [...document.querySelectorAll(".chart")]
    .map((one) => one.querySelectorAll("svg path").length) };
  found.best = first();
  click("Gain"); click("Language"); found.alphabetical = first();
  found.sorted = document.querySelectorAll("#language-table [aria-sort]").length;
  const search = document.getElementById("search");
  search.value = "swahili"; search.dispatchEvent(new Event("input"));
  found.search = first().trim(); found.shown = document.getElementById("shown").textContent;
  const select = document.getElementById("curve-language");
  const before = document.querySelector("#curve-chart svg").outerHTML;
  select.value = "sw"; select.dispatchEvent(new Event("change"));
  await wait(() => document.querySelector("#curve-chart svg")?.outerHTML !== before);
  const table = document.querySelector("#confidence + details table");
  found.least_certain = table.querySelector("tbody th").firstChild.textContent.trim();
  found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  found.ink = getComputedStyle(document.querySelector(`#gains [aria-roledescription="point"]`)).fill;
  const words = [...document.querySelectorAll("svg text, td, th, dd, p")].map((one) => one.textContent);
  found.strange = words.filter((word) => /undefined|NaN|null|None|\{\{/.test(word));
  document.title = JSON.stringify(found);
})();
