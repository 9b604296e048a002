// Parallel coordinates: a stretch of an axis keeps the lines that pass there.
function wireParallel() {
  const svg = document.querySelector(".parallel");
  if (!svg) return;
  const lines = [...svg.querySelectorAll("polyline")].map((node) => ({ node, at: [...node.points].map((p) => p.y) }));
  const axes = [...svg.querySelectorAll(".brush")].map((brush) => ({ brush, mark: brush.previousElementSibling, ends: null }));
  const all = (brush) => [Number(brush.getAttribute("y")), Number(brush.getAttribute("y")) + Number(brush.getAttribute("height"))];
  const apply = () => {
    tellLink("keep", axes.map(({ ends }) => ends?.map(Math.round).join("-") ?? "").join(",").replace(/^,+$/, ""));
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
  svg.addEventListener("click", (event) => {
    const line = event.target.closest("[data-line]");
    if (line) showCourse(line.dataset.line);
  });
  const kept = (linked.get("keep") ?? "").split(",").map((ends) => /^(\d+)-(\d+)$/.exec(ends));
  if (kept.some(Boolean)) {
    kept.slice(0, axes.length).forEach((ends, at) => { if (ends) axes[at].ends = [Number(ends[1]), Number(ends[2])]; });
    apply();
  }
  $("keep-all").addEventListener("click", () => {
    for (const axis of axes) axis.ends = null;
    apply();
  });
}
