// Filters the claims.  Without it the page has all of them and every link works.
"use strict";
(() => {
  const form = document.getElementById("filters");
  const shown = document.getElementById("shown");
  const kinds = [...document.querySelectorAll("details.kind")];
  const claims = [...document.querySelectorAll("table.claims > tbody")];
  const words = new Map(claims.map((claim) => [claim, claim.textContent.toLowerCase()]));
  let timer;

  function apply() {
    const wanted = Object.fromEntries(new FormData(form));
    const terms = wanted.words.toLowerCase().split(/\s+/).filter(Boolean);
    const filtered = terms.length || Object.entries(wanted).some(([name, value]) => name !== "words" && value);
    let total = 0;
    for (const kind of kinds) {
      let count = 0;
      for (const claim of kind.querySelectorAll("table.claims > tbody")) {
        const data = claim.dataset;
        claim.hidden = !(
          (!wanted.verdict || data.verdict === wanted.verdict) &&
          (!wanted.kind || kind.dataset.kind === wanted.kind) &&
          (!wanted.section || data.section === wanted.section) &&
          (!wanted.figure || data.figures.split(" ").includes(wanted.figure)) &&
          terms.every((term) => words.get(claim).includes(term))
        );
        count += !claim.hidden;
      }
      kind.hidden = !count;
      kind.open = Boolean(filtered && count);
      total += count;
    }
    shown.textContent = `${total} of ${claims.length} claims`;
  }

  // A link may point at a claim that is filtered away, or into details that are closed.
  function reveal() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.hidden) { form.reset(); apply(); }
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    if (target.matches("table.claims > tbody")) target.querySelector("details").open = true;
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
  shown.textContent = `${claims.length} of ${claims.length} claims`;
  reveal();
})();
