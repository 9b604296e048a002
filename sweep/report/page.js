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

  function axis(title, domain, extra) {
    const c = payload.colours;
    return {
      domain, color: c.muted, gridcolor: c.grid, linecolor: c.line, zeroline: false, showline: true,
      ticks: "outside", ticklen: 4, tickcolor: c.line,
      title: { text: title, standoff: 8, font: { size: 12, color: c.muted } }, ...extra,
    };
  }

  // A logarithmic axis with ticks at powers of ten, or at 1, 2 and 5 where these would be few.
  function logAxis(values) {
    const known = values.filter((v) => v > 0);
    if (!known.length) return { type: "log", range: [-1, 1] };
    const low = Math.log10(Math.min(...known)), high = Math.log10(Math.max(...known));
    const pad = Math.max(0.06 * (high - low), 0.08);
    const every = Math.max(1, Math.ceil((high - low) / 5));
    const steps = high - low < 0.8 ? [1, 2, 3, 5] : high - low < 1.8 ? [1, 2, 5] : [1];
    const ticks = [];
    for (let exponent = Math.floor(low - pad); exponent <= high + pad; exponent += every) {
      for (const step of steps) ticks.push(Number(`${step}e${exponent}`));
    }
    return { type: "log", range: [low - pad, high + pad], tickvals: ticks, ticktext: ticks.map((v) => (v >= 1e6 || v < 1e-3 ? v.toExponential(0).replace("+", "") : String(v))) };
  }

  function traceFigure(t) {
    const c = payload.colours;
    const outcome = payload.outcomes[t.verdict];
    const events = Object.entries(t.events);
    const hasScale = t.scale.length > 0;
    const hasNorm = t.grad_norm.some((v) => v !== null);
    const rows = [["loss", 4], ...(hasNorm ? [["norm", 4]] : []), ...(hasScale ? [["scale", 2]] : []), ...(events.length ? [["events", 0.6 + 0.5 * events.length]] : [])];
    const gap = 0.05;
    const unit = (1 - gap * (rows.length - 1)) / rows.reduce((sum, [, size]) => sum + size, 0);
    const domains = {};
    let top = 1;
    for (const [name, size] of rows) {
      domains[name] = [Math.max(0, top - unit * size), top];
      top -= unit * size + gap;
    }
    const narrow = $("trace").clientWidth < 560;
    const last = rows[rows.length - 1][0];
    const yOf = { loss: "y", norm: "y2", scale: "y3", events: "y4" };
    const line = (y, name, yaxis, extra) => ({ x: t.step, y, yaxis, name, mode: "lines", line: { color: c.accent, width: 1.4 }, hovertemplate: `step %{x}: %{y:.4g}<extra>${name}</extra>`, ...extra });
    const data = [line(t.loss, "training loss", "y")];
    const evals = t.val_loss.filter((v) => v !== null);
    if (evals.length) {
      data.push({ x: t.eval_step, y: t.val_loss, yaxis: "y", name: "validation loss", mode: "lines+markers", line: { color: c.ink, width: 1, dash: "dot" }, marker: { color: c.ink, size: 6, symbol: "circle-open" }, customdata: t.wer.map((w) => (w === null ? "n/a" : (100 * w).toFixed(1) + " %")), hovertemplate: "step %{x}: %{y:.4g}, WER %{customdata}<extra>validation loss</extra>" });
    }
    const layout = {
      height: 330 + (hasScale ? 90 : 0) + (narrow ? 44 : 26) * events.length + (hasNorm ? 100 : 0),
      margin: { l: events.length ? (narrow ? 104 : 146) : 66, r: 14, t: 22, b: 46 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif", size: 12, color: c.ink },
      showlegend: false, hovermode: "closest",
      hoverlabel: { bgcolor: c.panel, bordercolor: c.line, font: { color: c.ink, size: 12 } },
      xaxis: axis("training step", undefined, { anchor: yOf[last], range: [0, Math.max(t.num_steps, ...t.step, 1) * 1.02] }),
      yaxis: axis("loss (nats/label)", domains.loss, logAxis([...t.loss, ...t.val_loss, ...(t.l_const ? [t.l_const] : [])])),
      shapes: [], annotations: [],
    };
    const level = (value, yref, text) => {
      layout.shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, yref, y0: value, y1: value, line: { color: c.muted, width: 1, dash: "dash" } });
      layout.annotations.push({ xref: "paper", x: 0.97, xanchor: "right", yref, y: Math.log10(value), yanchor: "bottom", text, showarrow: false, font: { size: 11, color: c.muted } });
    };
    if (t.l_const) level(t.l_const, "y", "learned nothing (L_const)");
    if (hasNorm) {
      data.push(line(t.grad_norm, "gradient norm", "y2"));
      layout.yaxis2 = axis("gradient norm<br>before clipping (L2)", domains.norm, logAxis([...t.grad_norm, ...(t.clip ? [t.clip] : [])]));
      if (t.clip) level(t.clip, "y2", "clipped to " + Number(t.clip.toPrecision(3)));
    }
    if (hasScale) {
      data.push({ ...line(t.scale, "loss scale", "y3"), x: t.scale_step, line: { color: c.accent, width: 1.4, shape: "hv" } });
      layout.yaxis3 = axis("loss scale", domains.scale, logAxis(t.scale));
    }
    events.forEach(([name, steps], index) => {
      data.push({ x: steps, y: steps.map(() => index), yaxis: "y4", name, mode: "markers", marker: { symbol: "line-ns-open", size: 11, color: c.ink, line: { width: 1.3 } }, hovertemplate: `step %{x}<extra>${name}</extra>` });
    });
    if (events.length) {
      layout.yaxis4 = axis("", domains.events, { range: [-0.7, events.length - 0.3], tickvals: events.map((_, i) => i), ticktext: events.map(([name]) => `${narrow ? name.replace(/(:|gradient) /, "$1<br>") : name} (${t.event_counts[name]})`), showgrid: false, showline: false, ticks: "", zeroline: false });
      layout.yaxis4.tickfont = { size: 11 };
    }
    const mark = (at, text, colour, anchor) => {
      layout.shapes.push({ type: "line", x0: at, x1: at, yref: "paper", y0: 0, y1: 1, line: { color: colour, width: 1.5 } });
      layout.annotations.push({ x: at, xanchor: anchor, yref: "paper", y: 1, yanchor: "bottom", text, showarrow: false, font: { size: 12, color: colour } });
    };
    if (t.alarm) {
      // Two labels where they have room, else one.
      const near = t.num_steps - t.stop_step < 0.2 * t.num_steps;
      const alarm = (narrow ? "alarm: " : "would have been stopped: ") + t.alarm;
      const end = t.alarm === t.verdict ? "end" : t.verdict;
      mark(t.stop_step, near ? "" : alarm, payload.outcomes[t.alarm].colour, t.stop_step < t.num_steps / 3 ? "left" : "right");
      mark(t.num_steps, near ? alarm + ", " + end : end, outcome.colour, "right");
    } else {
      mark(t.stop_step ?? t.num_steps, t.verdict + (t.stop_step === null ? "" : " at step " + t.stop_step), outcome.colour, "right");
    }
    return { data, layout };
  }

  function drawTrace(id) {
    const t = payload.traces[id];
    $("trace-text").textContent = `Trial ${t.number} (${t.setting}): ${t.verdict}: ${t.reason}${t.cause ? `. Cause: ${t.cause}` : ""}`;
    $("trace-health").hidden = !t.warnings;
    $("trace-health").textContent = t.warnings ? `Numeric health: ${t.warnings}.` : "";
    draw($("trace"), traceFigure(t));
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
