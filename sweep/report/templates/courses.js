// The courses of the chosen trials, all in one figure. Their parts come from figures/course.py.
const MOST = 6;
const chosen = new Set();
let courses = null;
let coursesRead = null;

function readCourses() {
  coursesRead ??= unpack("courses-gz").then((text) => { courses = JSON.parse(text); });
  return coursesRead;
}

function grown(differences) {
  let last = 0;
  return differences.map((difference) => (last += difference));
}

function unlogged(differences, sharpness) {
  let last = 0;
  return differences.map((difference) => (difference === null ? null : 10 ** ((last += difference) / sharpness)));
}

function unpackedCourse(id) {
  const c = JSON.parse(courses[id]);
  return {
    ...c,
    step: grown(c.step),
    loss: unlogged(c.loss, c.q),
    norm: c.norm && unlogged(c.norm, c.q),
    scaleStep: c.scale && grown(c.scaleStep),
    evalStep: grown(c.evalStep),
    valLoss: unlogged(c.valLoss, payload.course.evalSharpness),
    events: c.events.map(([name, count, at]) => [name, count, grown(at)]),
  };
}

// One trial as it is in the figure: its colour, and what its names begin with where there are several.
function curvesOf(course, colour, called, eventRow) {
  const { styles } = payload.course;
  const coloured = (style) => ({ ...style, line: { ...style.line, color: colour ?? style.line.color } });
  const curve = (style, x, y, name, yaxis) => ({
    ...coloured(style), x, y, yaxis, name: called + name,
    hovertemplate: `step %{x}: %{y:.4g}<extra>${called}${name}</extra>`,
  });
  const made = [curve(styles.loss, course.step, course.loss, "training loss", "y")];
  if (course.evalStep.length) {
    const marks = curve(styles.evaluation, course.evalStep, course.valLoss, "validation loss", "y");
    made.push({
      ...marks,
      marker: { ...marks.marker, color: colour ?? marks.marker.color },
      customdata: course.results,
      hovertemplate: `step %{x}: %{y:.4g}%{customdata}<extra>${called}validation loss</extra>`,
    });
  }
  if (course.norm) made.push(curve(styles.norm, course.step, course.norm, "gradient norm", "y2"));
  if (course.scale) made.push(curve(styles.scale, course.scaleStep, course.scale, "loss scale", "y3"));
  course.events.forEach(([name, , at], index) => made.push({
    ...styles.event, x: at, y: at.map(() => eventRow + index), yaxis: "y4", name: called + name,
    marker: { ...styles.event.marker, color: colour ?? styles.event.marker.color },
    hovertemplate: `step %{x}<extra>${called}${name}</extra>`,
  }));
  return made;
}

// Row -> its stretch of the height, from the top.
function domains(rows, numEvents) {
  const { gap, eventShare } = payload.course;
  const sizes = rows.map((row) => payload.course.rows[row].share + (row === "events" ? eventShare * numEvents : 0));
  const unit = (1 - gap * (rows.length - 1)) / sizes.reduce((sum, size) => sum + size);
  let top = 1;
  return Object.fromEntries(rows.map((row, index) => {
    const low = Math.max(0, top - unit * sizes[index]);
    const domain = [low, top];
    top = low - gap;
    return [row, domain];
  }));
}

// A logarithmic axis around the values, with few, plainly written ticks.
function logAxis(values) {
  const known = values.filter((value) => value > 0);
  let [low, high] = [1, 10];
  if (known.length) {
    [low, high] = known.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, 0]);
    const pad = Math.max((high / low) ** 0.06, 1.15);
    [low, high] = [low / pad, high * pad];
  }
  const range = [Math.log10(low), Math.log10(high)];
  const span = range[1] - range[0];
  const digits = span > 3 ? [1] : span >= 1.7 ? [1, 3] : span >= 0.7 ? [1, 2, 5] : [1, 1.5, 2, 3, 5, 7];
  let ticks = [];
  for (let exponent = Math.floor(range[0]); exponent <= range[1]; exponent += 1) {
    ticks.push(...digits.map((digit) => Number(`${digit}e${exponent}`)).filter((tick) => tick >= low && tick <= high));
  }
  const every = 1 + Math.floor((ticks.length - 1) / payload.course.maxTicks);
  ticks = ticks.filter((_, index) => index % every === 0);
  const plainly = (tick) => (tick < 1e-4 || tick >= 1e6 ? tick.toExponential().replace("+", "") : String(tick));
  return { type: "log", range, tickvals: ticks, ticktext: ticks.map(plainly) };
}

function courseFigure(ids, narrow) {
  const { styles, rows, outcomeColours, trialColours, eventsMargin } = payload.course;
  const several = ids.length > 1;
  const all = ids.map((id) => ({ ...unpackedCourse(id), number: trials.numbers[trials.at.get(id)] }));
  const events = all.flatMap((c) => c.events.map(([name, count]) => `${several ? `${c.number} ` : ""}${name} (${count})`));
  const present = ["loss", ...["norm", "scale"].filter((row) => all.some((c) => c[row])), ...(events.length ? ["events"] : [])];
  const layout = structuredClone(payload.course.layout);
  const key = (row) => `yaxis${rows[row].axis.slice(1)}`;
  for (const row of Object.keys(rows)) if (!present.includes(row)) delete layout[key(row)];
  for (const [row, domain] of Object.entries(domains(present, events.length))) layout[key(row)].domain = domain;
  const spread = { loss: all.flatMap((c) => [...c.loss, ...c.valLoss]), norm: all.flatMap((c) => c.norm ?? []), scale: all.flatMap((c) => c.scale ?? []) };
  for (const c of all) for (const [row, value] of c.levels) spread[row].push(value);
  for (const row of present) if (spread[row]) Object.assign(layout[key(row)], logAxis(spread[row]));
  layout.height = present.reduce((sum, row) => sum + rows[row].pixels * (row === "events" ? events.length : 1), 0);
  layout.xaxis.anchor = rows[present.at(-1)].axis;
  layout.xaxis.range = [0, 1.02 * Math.max(1, ...all.map((c) => Math.max(c.n, c.step.at(-1) ?? 0)))];
  if (events.length) {
    // Less room: events in two lines.
    layout.margin.l = narrow ? 104 : eventsMargin + (several ? 24 : 0);
    layout.height += narrow ? 18 * events.length : 0;
    const ticktext = narrow ? events.map((text) => text.replace(/(:|gradient) /, "$1<br>")) : events;
    Object.assign(layout.yaxis4, { range: [events.length - 0.3, -0.7], tickvals: events.map((_, index) => index), ticktext });
  }
  const data = [];
  layout.shapes = [];
  layout.annotations = [];
  let eventRow = 0;
  const levels = new Set();
  all.forEach((course, index) => {
    const colour = several ? trialColours[index] : null;
    data.push(...curvesOf(course, colour, several ? `${course.number}: ` : "", eventRow));
    eventRow += course.events.length;
    for (const [row, value, text] of course.levels) {
      // What holds for all of them stands there once.
      if (levels.has(`${row} ${value}`)) continue;
      levels.add(`${row} ${value}`);
      const ref = { yref: rows[row].axis };
      const line = several && row !== "loss" ? { ...styles.level.line, color: colour } : styles.level.line;
      layout.shapes.push({ ...styles.level, ...ref, line, y0: value, y1: value });
      // The clip norms of several trials may lie close; their colours tell whose they are.
      if (several && row !== "loss") continue;
      // Plotly places a label on a logarithmic axis by the exponent, but a shape by the value.
      layout.annotations.push({ ...styles.levelLabel, ...ref, y: Math.log10(value), text });
    }
    course.ends.forEach(([step, text, outcome, xanchor]) => {
      const color = colour ?? outcomeColours[outcome];
      layout.shapes.push({ ...styles.end, x0: step, x1: step, line: { ...styles.end.line, color, dash: several ? "dot" : "solid" } });
      if (several) return;
      const shown = narrow ? text.replace("would have been stopped:", "alarm:") : text;
      layout.annotations.push({ ...styles.endLabel, x: step, xanchor, text: shown, font: { ...styles.endLabel.font, color } });
    });
  });
  return { data, layout };
}

function said(tag, text, name = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = name;
  return element;
}

function tellOf(id, index, several) {
  const at = trials.at.get(id);
  const item = document.createElement("li");
  if (several && payload) {
    const key = said("span", "", "trial-key");
    key.style.setProperty("--c", index < 0 ? "transparent" : themed(payload.course.trialColours[index]));
    item.append(key);
  }
  item.append(said("b", `Trial ${trials.numbers[at]}: ${trials.outcomes[at]}`), ` (${trials.settings[at]})`);
  if (several) {
    const remove = said("button", "remove", "link");
    remove.type = "button";
    remove.setAttribute("aria-label", `Remove trial ${trials.numbers[at]} from the figure`);
    remove.addEventListener("click", () => toggle(id, false));
    item.append(" ", remove);
  }
  item.append(said("p", trials.told[at] + (!courses || courses[id] ? "" : " It left no records of its steps.")));
  return item;
}

async function drawCourses() {
  if (!$("trace")) return;
  // What is known at once is said at once: the figure of a large study may take seconds more.
  tellCourses([]);
  await Promise.all([figuresRead, readCourses()]);
  await renderCourses();
}

function tellCourses(known) {
  $("trace-text").replaceChildren(...[...chosen].map((id) => tellOf(id, known.indexOf(id), chosen.size > 1)));
  markChosen();
}

function renderCourses() {
  if (!courses || !chosen.size) return;
  const ids = [...chosen];
  const known = ids.filter((id) => courses[id]);
  tellCourses(known);
  $("trace").hidden = !known.length;
  return known.length ? draw($("trace"), courseFigure(known, $("trace").clientWidth < 560)) : null;
}

function toggle(id, on) {
  if (on) chosen.add(id);
  else if (chosen.size > 1) chosen.delete(id);
  changed();
}

function choose(id) {
  chosen.clear();
  chosen.add(id);
  changed();
}

function changed() {
  $("compared").textContent = chosen.size > 1 ? `${chosen.size} trials in the figure` : "";
  if ($("pick")) $("pick").value = chosen.size === 1 ? [...chosen][0] : "";
  tellLink("trials", [...chosen].map((id) => trials.numbers[trials.at.get(id)]).join(","));
  return drawCourses();
}

// A link to a report may name trials: report.html#trials=7,12
function chosenByLink() {
  if (!linked.get("trials")) return [];
  const at = new Map(trials.numbers.map((number, index) => [String(number), index]));
  const wanted = linked.get("trials").split(",").map((number) => number.trim());
  const unknown = wanted.filter((number) => !at.has(number));
  if (unknown.length) $("compared").textContent = `No trial ${unknown.join(", ")} in this report.`;
  return wanted.filter((number) => at.has(number)).map((number) => trials.ids[at.get(number)]).slice(0, MOST);
}

function wireCourses() {
  const pick = $("pick");
  // Without the table of trials nothing is known of them.
  if (!pick || !trials.ids.length) return;
  pick.addEventListener("change", () => pick.value && choose(pick.value));
  const step = (by) => () => {
    const order = trials.order.length ? trials.order : trials.ids.map((_, at) => at);
    const now = order.indexOf(trials.at.get([...chosen].at(-1)));
    choose(trials.ids[order[(now + by + order.length) % order.length]]);
  };
  $("previous").addEventListener("click", step(-1));
  $("next").addEventListener("click", step(1));
  const named = chosenByLink();
  for (const id of named.length ? named : [pick.value]) chosen.add(id);
  if (named.length) {
    pick.value = named.length === 1 ? named[0] : "";
    $("traces").scrollIntoView();
  }
}

function showCourse(id) {
  if (!trials.at.has(id) || !$("trace")) return;
  choose(id);
  $("traces").scrollIntoView();
}
