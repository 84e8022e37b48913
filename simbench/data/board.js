"use strict";
(() => {
  const tables = [...document.querySelectorAll("table")];
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent.trim().toLowerCase() : Number(cell.dataset.v);
  };
  const order = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === ""); // empty cells come last
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return typeof a === "number" ? a - b : a.localeCompare(b);
  };
  const sort = (table, column, descending) => {
    for (const body of table.tBodies) {
      const rows = [...body.rows].map((row) => [key(row, column), row]);
      rows.sort(([a], [b]) => (descending && a !== "" && b !== "" ? order(b, a) : order(a, b)));
      body.append(...rows.map(([, row]) => row));
    }
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      head.setAttribute("aria-sort", index !== column ? "none" : descending ? "descending" : "ascending");
    });
  };
  for (const table of tables) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        sort(table, column, head.getAttribute("aria-sort") === "ascending");
      });
    });
  }
  const hints = () => {
    for (const box of document.querySelectorAll(".box")) box.previousElementSibling.hidden = box.scrollWidth <= box.clientWidth;
  };
  window.addEventListener("resize", hints);
  hints();
  const search = document.querySelector("#search");
  const found = document.querySelector("#found");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of document.querySelectorAll("tbody tr")) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    for (const one of tables) {
      one.closest("section").hidden = words.length > 0 && ![...one.querySelectorAll("tbody tr")].some((row) => !row.hidden);
    }
    found.textContent = words.length ? `${shown} row${shown === 1 ? "" : "s"} found` : "";
  };
  search.addEventListener("input", filter);
  document.querySelector("#tools").hidden = false;
  const wanted = new URLSearchParams(location.hash.slice(1)); // board.html#search=vae&table=board&sort=model&descending
  if (wanted.has("search")) {
    search.value = wanted.get("search");
    filter();
  }
  const table = tables.find((one) => one.id === (wanted.get("table") || "board"));
  const column = table ? [...table.tHead.rows[0].cells].findIndex((head) => head.dataset.key === wanted.get("sort")) : -1;
  if (column >= 0) sort(table, column, wanted.has("descending"));
})();
