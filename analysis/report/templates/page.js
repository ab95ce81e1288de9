"use strict";
// Sorts and filters the table of trials, and opens what is folded. The page is complete without it.
(() => {
  const table = document.getElementById("trial-table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  // An identifier such as 12e4 is no number: only columns of numbers are read as such.
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell.textContent.trim();
    const written = cell.classList.contains("number") && text ? text : NaN;
    const number = Number(cell.dataset.v ?? written);
    return Number.isNaN(number) ? text : number;
  };
  const kind = (value) => (typeof value === "number" ? 0 : value === "" ? 2 : 1);
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b));

  // Numbers before words; what is empty comes last in either direction. The order of equal rows stays.
  const sortBy = (heading, column) => {
    const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    const keyed = rows.map((row) => [valueOf(row, column), row]);
    keyed.sort(([a], [b]) => kind(a) - kind(b) || direction * compare(a, b));
    body.append(...keyed.map(([, row]) => row));
  };

  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    if (heading.classList.contains("curve")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", `sort by ${heading.textContent}`);
    heading.append(button);
    heading.addEventListener("click", () => sortBy(heading, column));
  });

  const filter = document.getElementById("filter");
  const output = filter.querySelector("output");
  const show = (query) => {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !words.every((word) => texts.get(row).includes(word));
      shown += !row.hidden;
    }
    output.textContent = `${shown} of ${rows.length}`;
  };
  filter.querySelector("input").addEventListener("input", (event) => show(event.target.value));
  filter.hidden = false;
  show("");

  // A link into what is folded opens it; so does printing, which closes it again.
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let own = target; own; own = own.parentElement) if (own.tagName === "DETAILS") own.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open], .apart)")];
    for (const own of opened) own.open = true;
  });
  addEventListener("afterprint", () => {
    for (const own of opened) own.open = false;
  });
})();
