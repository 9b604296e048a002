// The address holds what a reader chose: report.html#trials=7,12&filter=fp16&sort=WER&open=made.0
const linked = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");

function tellLink(name, value) {
  if (value) linked.set(name, value);
  else linked.delete(name);
  const plain = (text) => encodeURIComponent(text).replace(/%2C/g, ",").replace(/%3A/g, ":");
  history.replaceState(null, "", `#${[...linked].map(([key, text]) => `${key}=${plain(text)}`).join("&")}`);
}

// Folded parts are named by their section and their place in it.
function wireFolds() {
  const folds = [...document.querySelectorAll("main section[id]")].flatMap((section) =>
    [...section.querySelectorAll("details")].map((fold, at) => [`${section.id}.${at}`, fold]));
  const open = new Set((linked.get("open") ?? "").split(","));
  for (const [name, fold] of folds) {
    if (open.has(name)) fold.open = true;
    fold.addEventListener("toggle", () => {
      if (!printing) tellLink("open", folds.filter(([, one]) => one.open).map(([key]) => key).join(","));
    });
  }
}

// Another address in the same page's bar is another view of it.
addEventListener("hashchange", () => location.hash.includes("=") && location.reload());
