// The table of all trials: the first rows are in the page, all of them in a packed block, drawn as far as one scrolls.
const CHUNK = 200;
let trials = null;

async function readTrials() {
  trials = JSON.parse(await unpack("trials-gz"));
  trials.at = new Map(trials.ids.map((id, at) => [id, at]));
  trials.order = trials.ids.map((_, at) => at);
}

// What a row says, to search in.
function textOf(at) {
  trials.texts ??= [];
  return (trials.texts[at] ??= `${trials.ids[at]} ${trials.rows[at]}`
    .replace(/<[^>]*>/g, " ")
    .replace(/&(lt|gt|amp|#34|#39);/g, (_, name) => ({ lt: "<", gt: ">", amp: "&", "#34": '"', "#39": "'" })[name])
    .toLowerCase());
}

function showMore() {
  const body = $("table").tBodies[0];
  const from = body.rows.length;
  // Rows were escaped where they were made.
  body.insertAdjacentHTML("beforeend", trials.order.slice(from, from + CHUNK).map((at) => trials.rows[at]).join(""));
  $("more").hidden = body.rows.length >= trials.order.length;
  markChosen();
}

function showRows() {
  $("table").tBodies[0].replaceChildren();
  $("table").closest(".scroll").scrollTop = 0;
  $("count").textContent = trials.order.length ? `${trials.order.length} of ${trials.ids.length}` : "No trial says all of these words.";
  showMore();
}

function markChosen() {
  if (!$("table")) return;
  for (const row of $("table").tBodies[0].rows) {
    const on = chosen.has(row.dataset.id);
    row.classList.toggle("chosen", on);
    const box = row.querySelector("[data-compare]");
    if (!box) continue;
    box.checked = on;
    box.disabled = !on && chosen.size >= MOST;
  }
}

function wireTable() {
  const table = $("table");
  if (!table) return;
  const heads = [...table.tHead.rows[0].cells];
  const sorted = { column: null, descending: false };
  const apply = () => {
    const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const only = $("only").value;
    const kept = trials.ids.map((_, at) => at).filter((at) =>
      (!only || trials.outcomes[at] === only) && words.every((word) => textOf(at).includes(word)));
    if (sorted.column !== null) {
      const values = trials.sort[sorted.column];
      const sign = sorted.descending ? -1 : 1;
      kept.sort((a, b) => {
        const [x, y] = [values[a], values[b]];
        if (x === null || y === null) return (x === null) - (y === null);
        return sign * (typeof x === "string" ? x.localeCompare(y) : x - y);
      });
    }
    trials.order = kept;
    tellLink("filter", $("filter").value.trim());
    tellLink("only", only);
    showRows();
  };
  const sort = (head, descending) => {
    sorted.descending = descending;
    sorted.column = Number(head.dataset.column);
    for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    tellLink("sort", head.textContent.trim() + (descending ? ":down" : ""));
    apply();
  };
  $("filter").addEventListener("input", apply);
  $("only").addEventListener("change", apply);
  for (const button of table.tHead.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      sort(head, head.getAttribute("aria-sort") === "ascending");
    });
  }
  $("more").addEventListener("click", showMore);
  const scroll = table.closest(".scroll");
  scroll.addEventListener("scroll", () => {
    const near = scroll.scrollTop + scroll.clientHeight > scroll.scrollHeight - 400;
    if (near && !$("more").hidden) showMore();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-trial]");
    if (button) showCourse(button.dataset.trial);
  });
  table.tBodies[0].addEventListener("change", (event) => {
    const box = event.target.closest("[data-compare]");
    if (box) toggle(box.dataset.compare, box.checked);
  });
  $("filter").value = linked.get("filter") ?? $("filter").value;
  $("only").value = linked.get("only") ?? $("only").value;
  const [title, down] = (linked.get("sort") ?? "").split(":");
  const head = title && heads.find((one) => one.dataset.column && one.textContent.trim() === title);
  // What the link says, or what a browser restored from before.
  if (head) sort(head, down === "down");
  else if ($("filter").value || $("only").value) apply();
}
