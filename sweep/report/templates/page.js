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

// What is hidden has no width to be drawn in.
const visibleFigures = () => Object.keys(payload.figures).filter((id) => !$(id).closest("[hidden]"));

async function drawAll() {
  for (const id of visibleFigures()) {
    await drawFigure(id);
    await breath();
  }
}

function wirePlanes() {
  $("plane")?.addEventListener("change", async () => {
    for (const part of document.querySelectorAll("[data-plane]")) part.hidden = part.dataset.plane !== $("plane").value;
    await figuresRead;
    await drawAll();
  });
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
  wirePlanes();
  await figuresRead;
  await drawAll();
  if (chosen.size) await drawCourses();
  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => { printing = true; if (dark.matches) redraw(); });
  addEventListener("afterprint", () => { printing = false; if (dark.matches) redraw(); });
  document.body.dataset.ready = "yes";
}
start();
