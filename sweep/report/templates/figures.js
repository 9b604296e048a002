"use strict";
const $ = (id) => document.getElementById(id);
const dark = matchMedia("screen and (prefers-color-scheme: dark)");
const touch = matchMedia("(pointer: coarse)").matches;
const config = { displayModeBar: false, responsive: true };
let payload = null;
let printing = false;
let figuresRead = null;

async function unpack(id) {
  const packed = atob($(id).textContent);
  const bytes = new Uint8Array(packed.length);
  for (let at = 0; at < packed.length; at += 1) bytes[at] = packed.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

// A pause in which the page answers its reader.
const breath = () => new Promise((go) => setTimeout(go));

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
  // Plotly takes the element's own height when the window changes its size.
  node.style.height = layout.height + "px";
  // Paper has another width than the window, and no event that says so.
  if (printing) layout.width = node.clientWidth;
  return Plotly.react(node, themed(figure.data), layout, config);
}

async function drawFigure(id) {
  const node = $(id);
  const isNew = !node.data;
  await draw(node, structuredClone(payload.figures[id]));
  if (isNew) node.on("plotly_click", (event) => showCourse(event.points[0].customdata));
}
