"use strict";
// Shows the report in a frame. A newer one is drawn in a second frame behind it, is given all that the reader has
// done to the first, and takes its place when the reader is not at it: no flash, nothing lost.
(() => {
  const $ = (id) => document.getElementById(id);
  const POLL_MS = { running: 2000, absent: 3000, ended: 10000, hidden: 15000 };
  const QUIET_MS = 1500; // after the reader's last movement
  const TYPING_MS = 4000; // after the last key, while a field has the focus
  const DRAWN_MS = 60000; // then a report is shown as it is
  const REST = 3; // times as long as one took to draw, none is: the browser may share the sweep's cores
  const FIELDS = "input, select, textarea";
  // What the place on the page is measured from; the names inside a figure are new in each.
  const MARKS = ["[id]", "h2", "h3", "summary"].map((one) => `main ${one}:not(.js-plotly-plot *)`).join(", ");
  const REDRAWN_MS = 500; // after a change of a field, until figures that depend on it are drawn
  const TOGGLES = { "aria-sort": "th[aria-sort]", "aria-pressed": "[aria-pressed]", "aria-expanded": "[aria-expanded]", "aria-selected": "[aria-selected=true]" };

  let state = null;
  let answered = false;
  let shown = null; // { frame, version }
  let coming = null;
  let paused = false;
  let forced = false;
  let restUntil = 0;
  let touched = 0;
  let held = false;
  let timer = 0;

  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
  const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const pageOf = (view) => view.frame.contentDocument;

  // ---- what the reader has done to a report ----

  // Elements by a name that they have in the next report as well, though rows and sections come and go between.
  function named(page, selector) {
    const found = new Map();
    for (const node of page.querySelectorAll(selector)) {
      const home = node.closest("[id], [data-trial]");
      const own = node.id ? "" : [
        node.tagName, node.name, node.type === "checkbox" || node.type === "radio" ? node.value : "",
        node.getAttribute("aria-label"),
        ["DETAILS", "TH", "BUTTON", "H2", "H3"].includes(node.tagName) ? (node.querySelector("summary") ?? node).textContent.replace(/[\d\s]+/g, " ") : "",
      ].join("|");
      const name = `${home ? home.id || home.dataset.trial : ""}|${own}`;
      let key = name;
      for (let nth = 1; found.has(key); nth += 1) key = `${name}|${nth}`;
      found.set(key, node);
    }
    return found;
  }

  const collect = (page, selector, read) =>
    [...named(page, selector)].map(([key, node]) => [key, read(node)]).filter(([, value]) => value !== null);

  function capture(page) {
    const view = page.defaultView;
    const left = {
      link: view.location.hash,
      top: view.scrollY,
      anchor: null,
      fields: collect(page, FIELDS, (node) => node.type === "checkbox" || node.type === "radio" ? node.checked
        : node.tagName === "SELECT" ? [node.value, node.selectedOptions[0]?.text] : node.value),
      open: collect(page, "details", (node) => node.open),
      toggles: Object.entries(TOGGLES).flatMap(([attribute, selector]) =>
        collect(page, selector, (node) => node.getAttribute(attribute)).map(([key, value]) => [attribute, key, value])),
      inner: collect(page, "[tabindex]", (node) => node.scrollTop || node.scrollLeft ? [node.scrollTop, node.scrollLeft] : null),
      zoom: collect(page, ".js-plotly-plot", zoomOf),
      focus: collect(page, `${FIELDS}, button, summary, a`, (node) => node === page.activeElement ? [node.selectionStart, node.selectionEnd] : null)[0],
    };
    for (const [key, node] of named(page, MARKS)) {
      const box = node.getBoundingClientRect();
      if (box.height && box.top <= view.innerHeight / 4) left.anchor = [key, box.top];
    }
    return left;
  }

  function tell(node) {
    const { Event } = node.ownerDocument.defaultView;
    for (const kind of ["input", "change"]) node.dispatchEvent(new Event(kind, { bubbles: true }));
  }

  // Whether the page had to be told.
  function fill(node, value) {
    if (node.type === "checkbox" || node.type === "radio") {
      if (node.checked === value) return false;
      node.checked = value;
    } else if (node.tagName === "SELECT") {
      const same = [...node.options].filter((option) => option.value === value[0]);
      const option = same.find((one) => one.text === value[1]) ?? same[0];
      if (!option || option.selected) return false;
      option.selected = true;
    } else {
      if (node.type === "file" || node.value === value) return false;
      node.value = value;
    }
    tell(node);
    return true;
  }

  async function scrollInside(node, top, left) {
    // A long table draws its rows as far as one scrolls.
    for (let height = 0; node.scrollHeight > height;) {
      height = node.scrollHeight;
      node.scrollTo({ top, left, behavior: "instant" });
      if (node.scrollTop >= top - 1) return;
      await painted();
    }
  }

  async function restore(page, left) {
    const view = page.defaultView;
    const each = (selector, values, act) => {
      const nodes = named(page, selector);
      for (const [key, value] of values) if (nodes.has(key)) act(nodes.get(key), value);
    };
    let told = false;
    each(FIELDS, left.fields, (node, value) => { told = fill(node, value) || told; });
    each("details", left.open, (node, open) => { node.open = open; });
    for (const [attribute, key, value] of left.toggles) {
      if (value === "none") continue;
      const node = named(page, TOGGLES[attribute].replace("=true", "")).get(key);
      // A column's heading sorts up at the first click and down at the second.
      for (let click = 0; node && click < 2 && node.getAttribute(attribute) !== value; click += 1) {
        (node.tagName === "TH" ? node.querySelector("button") ?? node : node).click();
      }
    }
    if (told && left.zoom.length) await sleep(REDRAWN_MS);
    for (const [key, zoom] of left.zoom) {
      const node = named(page, ".js-plotly-plot").get(key);
      if (node && view.Plotly) await view.Plotly.relayout(node, zoom);
    }
    for (const [key, [top, start]] of left.inner) {
      const node = named(page, "[tabindex]").get(key);
      if (node) await scrollInside(node, top, start);
    }
    if (left.focus) {
      each(`${FIELDS}, button, summary, a`, [left.focus], (node, [start, end]) => {
        node.focus({ preventScroll: true });
        if (node.tagName === "INPUT" && start !== null && start !== undefined) node.setSelectionRange(start, end);
      });
    }
    await painted();
    let top = left.top;
    const anchor = left.anchor && named(page, MARKS).get(left.anchor[0]);
    // What stands above may have grown.
    if (top > 0 && anchor) top = view.scrollY + anchor.getBoundingClientRect().top - left.anchor[1];
    view.scrollTo({ top, behavior: "instant" });
  }

  // ---- figures: how far the reader has zoomed ----

  const at = (layout, path) => path.split(/[.[\]]+/).filter(Boolean).reduce((value, part) => value?.[part], layout);

  function zoomOf(node) {
    // A figure that was drawn anew since, such as another trial's course, has its own ranges.
    const kept = Object.entries(node.watchZoom ?? {}).filter(([path, value]) => at(node.layout, path) === value);
    return kept.length ? Object.fromEntries(kept) : null;
  }

  function noteZoom(event) {
    const node = event.target.closest?.(".js-plotly-plot");
    if (!node?.on || node.watchZoom) return;
    node.watchZoom = {};
    node.on("plotly_relayout", (change) => {
      for (const [path, value] of Object.entries(change)) {
        if (!/^[xy]axis\d*\.(range\[\d\]|autorange)$/.test(path)) continue;
        const axis = path.split(".")[0];
        if (path.endsWith("autorange")) {
          for (const old of Object.keys(node.watchZoom)) if (old.startsWith(`${axis}.`)) delete node.watchZoom[old];
        } else delete node.watchZoom[`${axis}.autorange`];
        node.watchZoom[path] = value;
      }
    });
  }

  // ---- is the reader at it? ----

  function listen(page) {
    const touch = (event) => {
      touched = performance.now();
      if (event.buttons !== undefined) held = event.buttons !== 0;
    };
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel", "wheel", "touchmove", "keydown", "input", "scroll"]) {
      page.addEventListener(kind, touch, { capture: true, passive: true });
    }
    page.addEventListener("pointerover", noteZoom, { capture: true, passive: true });
  }

  function quiet() {
    if (forced || !shown) return true;
    const page = pageOf(shown);
    const typing = page.activeElement?.matches(FIELDS);
    return !held && page.getSelection().isCollapsed && performance.now() - touched > (typing ? TYPING_MS : QUIET_MS);
  }

  // ---- frames ----

  // The report keeps in its address which trials are chosen.
  function frameOf(version, link) {
    const frame = document.createElement("iframe");
    frame.title = "Report";
    frame.className = "coming";
    frame.src = `/report?v=${version}${link}`;
    const loaded = new Promise((done) => frame.addEventListener("load", done, { once: true }));
    $("stage").append(frame);
    return { view: { frame, version }, loaded };
  }

  async function drawn(view) {
    for (let waited = 0; waited < DRAWN_MS && pageOf(view).body.dataset.ready !== "yes"; waited += 100) await sleep(100);
  }

  function show(view) {
    const focused = shown && document.activeElement === shown.frame;
    view.frame.className = "";
    if (shown) shown.frame.remove();
    if (focused || !shown) view.frame.contentWindow.focus();
    shown = view;
    held = forced = false;
    listen(pageOf(view));
    $("hold").hidden = true;
    tellState();
  }

  async function follow() {
    if (coming || !state?.version || state.version === shown?.version) return;
    if (shown && !forced && (paused || document.hidden || performance.now() < restUntil)) return;
    const began = performance.now();
    const left = shown ? null : remembered();
    const { view, loaded } = frameOf(state.version, shown ? pageOf(shown).location.hash : location.hash || left?.link || "");
    coming = view;
    tellState();
    try {
      await loaded;
      if (!pageOf(view).body.querySelector("main")) throw new Error("no report came");
      if (!shown) {
        show(view);
        await drawn(view);
        restUntil = performance.now() + REST * (performance.now() - began);
        if (left) await restore(pageOf(view), left);
        return;
      }
      await drawn(view);
      restUntil = performance.now() + REST * (performance.now() - began);
      for (;;) {
        while ((!quiet() || paused || document.hidden) && !forced) { tellState(); await sleep(300); }
        const before = touched;
        await restore(pageOf(view), capture(pageOf(shown)));
        if (touched === before || forced) break;
      }
      show(view);
    } catch {
      // The server ended meanwhile, or the page did: the next answer tells.
      if (view !== shown) view.frame.remove();
    } finally {
      coming = null;
      tellState();
    }
  }

  // ---- state ----

  const memory = () => `report of ${state?.name} at ${location.host}`;
  const remembered = () => {
    try {
      return JSON.parse(sessionStorage.getItem(memory()));
    } catch {
      return null; // Not allowed: a reload begins at the top.
    }
  };
  const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };

  function tellState() {
    const status = answered ? state.status : state ? "lost" : "unknown";
    $("bar").dataset.status = status;
    if (!state) return;
    const newer = shown && state.version !== shown.version;
    set($("name"), state.name);
    set($("text"), answered ? state.text : "no answer: was python -m sweep.watch ended? The page stays as it is");
    document.title = `${state.count ? `${state.count.replace(" of ", "/")} ` : ""}${state.name}`;
    $("running").hidden = !answered || !state.running.length;
    set($("running").querySelector("summary"), `${state.running.length} running`);
    const list = $("running").querySelector("ul");
    if (list.dataset.now !== state.running.join("\n")) {
      list.dataset.now = state.running.join("\n");
      list.replaceChildren(...state.running.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
    }
    const updated = state.built_at ? new Date(1000 * state.built_at).toLocaleTimeString([], { hour12: false }) : "";
    set($("news"), !shown ? "" : newer ? `new results from ${updated}` : `as of ${updated}`);
    $("now").hidden = !newer || !(paused || (coming && !quiet()));
    $("alone").hidden = !shown || !answered;
    $("pause").hidden = !paused && (!shown || !answered || (state.status === "ended" && !newer));
    $("error").hidden = !state.error || !answered;
    set($("error"), state.error ? `${shown ? "The report could not be built anew; this is the one before. " : ""}${state.error}` : "");
    if (!shown) set($("hold"), state.hint ? state.hint : state.error ? "There is no report yet." : "The report is being built.");
  }

  // So that a link to what is seen now can be copied.
  function tellLink() {
    const link = shown && pageOf(shown).location.hash;
    if (link && link !== location.hash) history.replaceState(null, "", link);
  }

  async function poll() {
    clearTimeout(timer);
    tellLink();
    const idle = document.hidden || paused;
    try {
      const answer = await fetch(idle ? "/state?idle" : "/state", { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      state = await answer.json();
      answered = true;
    } catch {
      answered = false;
    }
    tellState();
    follow();
    const current = shown && shown.version === state?.version;
    clearTimeout(timer);
    timer = setTimeout(poll, document.hidden ? POLL_MS.hidden : !answered || (state.status === "ended" && current) ? POLL_MS.ended : state.status === "absent" ? POLL_MS.absent : POLL_MS.running);
  }

  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").setAttribute("aria-pressed", String(paused));
    set($("pause"), paused ? "Paused" : "Pause");
    poll();
  });
  $("now").addEventListener("click", () => { forced = true; follow(); });
  document.addEventListener("visibilitychange", poll);
  addEventListener("pagehide", () => {
    try {
      if (shown) sessionStorage.setItem(memory(), JSON.stringify(capture(pageOf(shown))));
    } catch { /* No room, or not allowed: a reload begins at the top. */ }
  });
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("#running")) $("running").open = false;
  });
  poll();
})();
