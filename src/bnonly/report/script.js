// Filters the table of claims.  Without it the page has the whole table and every link works.
"use strict";
(() => {
  const form = document.getElementById("filters");
  const shown = document.getElementById("shown");
  const rows = [...document.querySelectorAll("table.claims > tbody > tr")];
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  let timer;

  function apply() {
    const wanted = Object.fromEntries(new FormData(form));
    const terms = wanted.words.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const data = row.dataset;
      row.hidden = !(
        (!wanted.verdict || data.verdict === wanted.verdict) &&
        (!wanted.kind || data.kind === wanted.kind) &&
        (!wanted.section || data.section === wanted.section) &&
        (!wanted.figure || data.figures.split(" ").includes(wanted.figure)) &&
        terms.every((term) => words.get(row).includes(term))
      );
      count += !row.hidden;
    }
    shown.textContent = `${count} of ${rows.length} claims`;
  }

  // A link may point at a row that is filtered away, or into details that are closed.
  function reveal() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.hidden) { form.reset(); apply(); }
    for (let node = target.parentElement; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    if (target.matches("table.claims tr")) target.querySelector("details").open = true;
    target.scrollIntoView({ behavior: "instant" });
  }

  form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(apply, 120); });
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  for (const tile of document.querySelectorAll("a[data-verdict]")) {
    tile.addEventListener("click", () => { form.reset(); form.elements.verdict.value = tile.dataset.verdict; setTimeout(apply); });
  }
  addEventListener("hashchange", reveal);
  form.hidden = false;
  apply();
  reveal();
})();
