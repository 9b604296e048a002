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
    document.querySelectorAll("[data-line]").forEach((b) => b.addEventListener("click", () => show(b.dataset.line)));
    for (const id of Object.keys(payload.figures)) $(id).on("plotly_click", (event) => show(event.points[0].customdata));
  }

  // Parallel coordinates: a stretch of an axis keeps the lines that pass there.
  function wireParallel() {
    const svg = document.querySelector(".parallel");
    if (!svg) return;
    const lines = [...svg.querySelectorAll("polyline")].map((node) => ({ node, at: [...node.points].map((p) => p.y) }));
    const axes = [...svg.querySelectorAll(".brush")].map((brush) => ({ brush, mark: brush.previousElementSibling, ends: null }));
    const all = (brush) => [Number(brush.getAttribute("y")), Number(brush.getAttribute("y")) + Number(brush.getAttribute("height"))];
    const apply = () => {
      let kept = 0, good = 0;
      for (const { node, at } of lines) {
        const keeps = axes.every(({ ends }, i) => !ends || (at[i] >= ends[0] && at[i] <= ends[1]));
        node.classList.toggle("left-out", !keeps);
        kept += keeps;
        good += keeps && node.dataset.good === "1";
      }
      const chosen = axes.some(({ ends }) => ends);
      $("keep-all").hidden = !chosen;
      $("kept").textContent = chosen ? `${kept} of ${lines.length} lines kept: ${good} stable, ${kept - good} not` : "";
      for (const { brush, mark, ends } of axes) {
        mark.setAttribute("y", ends ? ends[0] : 0);
        mark.setAttribute("height", ends ? ends[1] - ends[0] : 0);
        const [top, bottom] = all(brush);
        const share = (y) => Math.round((100 * (bottom - y)) / (bottom - top));
        brush.setAttribute("aria-valuenow", ends ? share((ends[0] + ends[1]) / 2) : 50);
        brush.setAttribute("aria-valuetext", ends ? `${share(ends[1])} to ${share(ends[0])} % of the axis: ${$("kept").textContent}` : "all");
      }
    };
    for (const axis of axes) {
      const [top, bottom] = all(axis.brush);
      const place = (event) => Math.min(Math.max(new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse()).y, top), bottom);
      let from = null;
      axis.brush.addEventListener("pointerdown", (event) => {
        from = place(event);
        axis.brush.setPointerCapture(event.pointerId);
      });
      axis.brush.addEventListener("pointermove", (event) => {
        if (from === null) return;
        axis.ends = [from, place(event)].sort((a, b) => a - b);
        apply();
      });
      const end = () => {
        // A click without a stretch keeps all.
        if (from !== null && (!axis.ends || axis.ends[1] - axis.ends[0] < 4)) axis.ends = null;
        from = null;
        apply();
      };
      axis.brush.addEventListener("pointerup", end);
      axis.brush.addEventListener("pointercancel", end);
      axis.brush.addEventListener("keydown", (event) => {
        const by = { ArrowUp: -1, ArrowDown: 1, Escape: 0 }[event.key];
        if (by === undefined) return;
        event.preventDefault();
        const size = (bottom - top) / 4;
        if (!by) axis.ends = null;
        else if (!axis.ends) axis.ends = by < 0 ? [bottom - size, bottom] : [top, top + size];
        else {
          const high = Math.min(Math.max(axis.ends[0] + (by * size) / 4, top), bottom - size);
          axis.ends = [high, high + size];
        }
        apply();
      });
    }
    $("keep-all").addEventListener("click", () => {
      for (const axis of axes) axis.ends = null;
      apply();
    });
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
    wireParallel();
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
