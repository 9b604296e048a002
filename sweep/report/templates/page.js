"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const dark = matchMedia("screen and (prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;
  const config = {
    displayModeBar: false,
    responsive: true,
  };
  let payload = null;
  let printing = false;

  async function unpack(id) {
    const packed = atob($(id).textContent);
    const bytes = Uint8Array.from(packed, (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  // Figures are built in the light theme's colours; each has one dark counterpart.
  function themed(value) {
    if (!dark.matches || printing) return value;
    if (typeof value === "string") return payload.swaps[value] ?? value;
    if (Array.isArray(value)) return value.map(themed);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item)]));
    }
    return value;
  }

  function draw(node, figure) {
    const layout = themed(figure.layout);
    layout.dragmode = touch ? false : "zoom";
    layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: themed(payload.colours.line), activecolor: themed(payload.colours.muted) };
    // Plotly takes the element's own height when the window changes its size.
    node.style.height = layout.height + "px";
    Plotly.react(node, themed(figure.data), layout, config);
  }

  function drawAll() {
    for (const [id, figure] of Object.entries(payload.figures)) draw($(id), structuredClone(figure));
    if ($("pick")) drawTrace($("pick").value);
  }

  // Less room: shorter labels, events in two lines.
  function narrowed(layout) {
    if (layout.yaxis4) {
      layout.margin.l = 104;
      layout.height += 18 * layout.yaxis4.ticktext.length;
      layout.yaxis4.ticktext = layout.yaxis4.ticktext.map((text) => text.replace(/(:|gradient) /, "$1<br>"));
    }
    for (const label of layout.annotations) label.text = label.text.replace("would have been stopped:", "alarm:");
  }

  function drawTrace(id) {
    const t = payload.traces[id];
    $("trace-text").textContent = `Trial ${t.number} (${t.setting}): ${t.verdict}: ${t.reason}${t.cause ? `. Cause: ${t.cause}` : ""}`;
    $("trace-health").hidden = !t.warnings;
    $("trace-health").textContent = t.warnings ? `Numeric health: ${t.warnings}.` : "";
    const figure = structuredClone(t.figure);
    if ($("trace").clientWidth < 560) narrowed(figure.layout);
    draw($("trace"), figure);
  }

  function wireTraces() {
    const pick = $("pick");
    if (!pick) return;
    pick.addEventListener("change", () => drawTrace(pick.value));
    const step = (by) => () => {
      pick.selectedIndex = (pick.selectedIndex + by + pick.length) % pick.length;
      drawTrace(pick.value);
    };
    $("previous").addEventListener("click", step(-1));
    $("next").addEventListener("click", step(1));
    const show = (id) => {
      if (!payload.traces[id]) return;
      pick.value = id;
      drawTrace(id);
      $("traces").scrollIntoView();
    };
    document.querySelectorAll("[data-trial]").forEach((b) => b.addEventListener("click", () => show(b.dataset.trial)));
    for (const id of Object.keys(payload.figures)) $(id).on("plotly_click", (event) => show(event.points[0].customdata));
  }

  function wireTable() {
    const table = $("table");
    if (!table) return;
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const apply = () => {
      const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
      const only = $("only").value;
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = (only && row.dataset.outcome !== only) || !words.every((w) => text.includes(w));
        if (!row.hidden) shown += 1;
      }
      $("count").textContent = `${shown} of ${rows.length}`;
    };
    $("filter").addEventListener("input", apply);
    $("only").addEventListener("change", apply);
    table.tHead.querySelectorAll("button").forEach((button) => {
      button.addEventListener("click", () => {
        const head = button.closest("th");
        const descending = head.getAttribute("aria-sort") === "ascending";
        table.tHead.querySelectorAll("th[aria-sort]").forEach((th) => th.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const value = (row) => {
          const cell = row.cells[head.cellIndex];
          if (cell.dataset.v === undefined) return cell.textContent.trim();
          return cell.dataset.v === "" ? null : Number(cell.dataset.v);
        };
        rows.sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          if (x === null || y === null) return (x === null) - (y === null);
          return (descending ? -1 : 1) * (typeof x === "string" ? x.localeCompare(y) : x - y);
        });
        body.append(...rows);
      });
    });
  }

  function wireCopy() {
    document.querySelectorAll("[data-copy]").forEach((button) => {
      const source = $(button.dataset.copy);
      const told = button.nextElementSibling;
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(source.textContent);
          told.textContent = "Copied.";
        } catch {
          getSelection().selectAllChildren(source);
          told.textContent = "Selected: press Ctrl+C.";
        }
      });
    });
  }

  async function start() {
    wireTable();
    wireCopy();
    const script = document.createElement("script");
    script.textContent = await unpack("plotly-gz");
    document.head.append(script);
    payload = JSON.parse(await unpack("payload-gz"));
    drawAll();
    wireTraces();
    dark.addEventListener("change", drawAll);
    addEventListener("beforeprint", () => { printing = true; if (dark.matches) drawAll(); });
    addEventListener("afterprint", () => { printing = false; if (dark.matches) drawAll(); });
    document.body.dataset.ready = "yes";
  }
  start();
})();
