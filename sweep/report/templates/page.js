function wireCopy() {
  for (const button of document.querySelectorAll("[data-copy]")) {
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
  }
}

async function drawAll() {
  for (const id of Object.keys(payload.figures)) {
    await drawFigure(id);
    await breath();
  }
}

async function redraw() {
  await drawCourses();
  await drawAll();
}

async function readFigures() {
  const script = document.createElement("script");
  script.textContent = await unpack("plotly-gz");
  document.head.append(script);
  payload = JSON.parse(await unpack("payload-gz"));
}

async function start() {
  wireCopy();
  await readTrials();
  figuresRead = readFigures();
  wireTable();
  wireCourses();
  await figuresRead;
  for (const id of Object.keys(payload.figures)) {
    await drawFigure(id);
    $(id).on("plotly_click", (event) => showCourse(event.points[0].customdata));
    await breath();
  }
  if (chosen.size) await drawCourses();
  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => { printing = true; if (dark.matches) redraw(); });
  addEventListener("afterprint", () => { printing = false; if (dark.matches) redraw(); });
  document.body.dataset.ready = "yes";
}
start();
