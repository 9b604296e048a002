// What the page shows as a file: the trials that the filter keeps, in their order, and the answer.
function saved(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = `${document.body.dataset.study} ${name}`.replace(/[^\w.-]+/g, "-");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// A spreadsheet takes a text that begins so for a formula.
const harmless = (value) => (typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : value);
const field = (value) => {
  const text = String(harmless(value) ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
const csv = (rows) => rows.map((row) => `${row.map(field).join(",")}\r\n`).join("");

// JSON knows no infinity, so that the largest numbers stand for it.
const exact = (value) => (Math.abs(value) >= 1e308 ? (value > 0 ? "inf" : "-inf") : value);

function trialRecords() {
  const heads = [...$("table").tHead.rows[0].cells].slice(1);
  const names = heads.map((head) => head.title && /^[\w.]+\.\w+$/.test(head.title) ? head.title : head.textContent.trim());
  const read = document.createElement("template");
  return trials.order.map((at) => {
    read.innerHTML = trials.rows[at];
    const cells = [...read.content.querySelectorAll("td")].slice(1);
    const value = (cell, column) => heads[column].classList.contains("num") || column === 0
      ? exact(trials.sort[column]?.[at] ?? null)
      : column === 1 ? trials.outcomes[at] : (cell.classList.contains("cause") && cell.title) || cell.textContent.trim();
    return Object.fromEntries([["trial", trials.ids[at]], ...cells.map((cell, column) => [names[column], value(cell, column)])]);
  });
}

// Part, name and value of everything in an object; of a list one row a member.
function flat(value, path = []) {
  if (value === null || typeof value !== "object") return [[path.join("."), value]];
  return Object.entries(value).flatMap(([key, one]) => flat(one, [...path, key]));
}

function wireExports() {
  for (const button of document.querySelectorAll("[data-export]")) {
    const [what, form] = button.dataset.export.split(".");
    button.addEventListener("click", async () => {
      const told = what === "trials" ? trialRecords() : JSON.parse(await unpack("answer-gz"));
      if (form === "json") return saved(`${what}.json`, "application/json", `${JSON.stringify(told, null, 2)}\n`);
      const rows = what === "trials"
        ? [Object.keys(told[0] ?? {}), ...told.map((one) => Object.values(one))]
        : [["name", "value"], ...flat(told)];
      return saved(`${what}.csv`, "text/csv", csv(rows));
    });
  }
}
