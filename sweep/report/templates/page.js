// Browsers give a page that was opened from a disk no clipboard, or only when asked the old way.
async function copied(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch {
    const folded = source.closest("details");
    if (folded) folded.open = true;
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }
}

function wireCopy() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    const told = button.nextElementSibling;
    button.addEventListener("click", async () => {
      told.textContent = (await copied($(button.dataset.copy))) ? "Copied." : "Selected: press Ctrl+C.";
    });
  }
}

// From top to bottom. What is hidden has no width to be drawn in.
const visibleFigures = () => [...document.querySelectorAll(".plot")]
  .filter((node) => node.id in payload.figures && !node.closest("[hidden]"))
  .map((node) => node.id);

async function drawAll() {
  for (const id of visibleFigures()) {
    await drawFigure(id);
    await breath();
  }
}

function wirePlanes() {
  const plane = $("plane");
  if (!plane) return;
  const show = () => {
    for (const part of document.querySelectorAll("[data-plane]")) part.hidden = part.dataset.plane !== plane.value;
  };
  if ([...plane.options].some((one) => one.value === linked.get("plane"))) plane.value = linked.get("plane");
  show();
  plane.addEventListener("change", async () => {
    show();
    tellLink("plane", plane.value);
    await figuresRead;
    await drawAll();
  });
}

// All at once: a printer does not wait.
function redraw() {
  renderCourses();
  for (const id of visibleFigures()) drawFigure(id);
}

async function readFigures() {
  const [plotly, figures] = await Promise.all([unpack("plotly-gz"), unpack("payload-gz")]);
  const script = document.createElement("script");
  script.textContent = plotly;
  document.head.append(script);
  payload = JSON.parse(figures);
}

async function start() {
  wireCopy();
  wireFolds();
  // The table answers first: to start Plotly takes a second.
  const trialsRead = readTrials();
  figuresRead = trialsRead.then(breath).then(readFigures);
  await trialsRead;
  wireTable();
  wireCourses();
  wireParallel();
  wireExports();
  wirePlanes();
  await figuresRead;
  await drawAll();
  if (chosen.size) await drawCourses();
  dark.addEventListener("change", redraw);
  for (const [event, now] of [["beforeprint", true], ["afterprint", false]]) {
    addEventListener(event, () => {
      printing = now;
      document.documentElement.classList.toggle("printing", now);
      redraw();
    });
  }
  document.body.dataset.ready = "yes";
}
start();
