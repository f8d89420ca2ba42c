"use strict";
// Without this script the page says the same; it only adds sorting, copying and pointing.
(() => {
  const cell = (row, at) => row.cells[at].textContent.trim();
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  const missing = (text) => text === "" || text === "-";
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const way = head.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", way);
        const sign = way === "ascending" ? 1 : -1;
        const rows = [...table.tBodies[0].rows].map((row) => [row, cell(row, at)]);
        rows.sort(([, a], [, b]) => missing(a) - missing(b) || sign * compare(a, b));
        table.tBodies[0].append(...rows.map(([row]) => row));
      });
    });
  }

  const byTrial = new Map();
  for (const node of document.querySelectorAll("[data-trial]")) {
    const id = node.dataset.trial;
    byTrial.set(id, [...(byTrial.get(id) ?? []), node]);
  }
  let lit = [];
  const point = (event) => {
    const node = event.target.closest?.("[data-trial]");
    for (const old of lit) old.classList.remove("lit");
    lit = byTrial.get(node?.dataset.trial) ?? [];
    for (const now of lit) now.classList.add("lit");
  };
  document.addEventListener("pointerover", point);
  document.addEventListener("click", point);
  for (const hint of document.querySelectorAll(".hint")) hint.hidden = false;

  for (const button of document.querySelectorAll(".copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = button.previousElementSibling;
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(code); // no clipboard in a frame: ready for Ctrl-C
        button.textContent = "selected";
      }
    });
  }
})();
