"use strict";
const table = document.getElementById("rows");
const body = table.tBodies[0];

function sortBy(column, header) {
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const value = (row) => row.cells[column].dataset.value ?? "";
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
    return descending ? -order : order;
  });
  body.append(...rows);
}

function open(material) {
  const dialog = document.getElementById("material-" + material);
  if (dialog && !dialog.open) dialog.showModal();
}

[...table.tHead.rows[0].cells].forEach((header, column) =>
  header.firstChild.addEventListener("click", () => sortBy(column, header)));
body.addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (row) location.hash = "material-" + row.dataset.material;
  if (row) open(row.dataset.material);
});
document.querySelectorAll("dialog").forEach((dialog) => {
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));
});
if (location.hash.startsWith("#material-")) open(decodeURIComponent(location.hash.slice(10)));
