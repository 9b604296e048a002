"""A stranger's folder on a page: what stands in it is text, in the page, in what its scripts make, and in the code."""

import ast
import base64
import gzip
import html.parser
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweep import store
from sweep.report import build_report
from sweep.report.contents.view import _snippet, load_view

Make = Callable[..., Path]
EVIL = (
    "<evil>\"><evil evilattr=1>'><evil></script><script>evil()</script></style><evil></textarea></title></svg>"
    "<img src=x onerror=evil()><a href=javascript:evil()>&lt;evil&gt; --><evil> ]]> ${evil} {{7*7}} {%evil%}"
)
SCRIPTS = 6


class Markup(html.parser.HTMLParser):
    """What a browser would take for elements and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    @property
    def is_clean(self) -> bool:
        on = [name for name, _ in self.attributes if name.startswith("on") or name == "evilattr"]
        leads = [value for name, value in self.attributes if name in ("href", "src") and "evil" in (value or "")]
        return not (on or leads or {"evil", "img"} & set(self.tags))


def texts(value: Any) -> Iterator[str]:
    """Every text of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)


def rewritten(folder: Path) -> Path:
    """The folder, with all texts that its readers show made hostile."""
    content = store.read_study(folder)
    made = content.get("provenance") or {}
    data = {"source": EVIL, "valid_measures": EVIL, "notes": [EVIL], "exclusions": {EVIL: 3}, "num_train": 9}
    made |= {
        "versions": {"torch": EVIL},
        "host": {"platform": EVIL, "cpu": EVIL, "gpu": EVIL},
        "data": data,
        "exploration_ended": EVIL,
        "started_at": EVIL,
        "claims_withdrawn_after": {EVIL: 4},
    }
    store.write_yaml(
        folder / "study.yaml", {**content, "name": "n" + EVIL[:80], "description": EVIL, "provenance": made}
    )
    trials = store.read_trials(folder)
    for column in ("reason", "cause", "judged_with", "precision_implementation", "cell"):
        if column in trials:
            trials[column] = EVIL
    trials.to_parquet(folder / "trials.parquet")
    for path in folder.glob("evidence/*/explanation.json"):
        told = json.loads(path.read_text())
        told |= {"text": EVIL, "details": [EVIL]}
        if told["first_nonfinite"]:
            told["first_nonfinite"] |= {"operation": EVIL, "path": EVIL, "dtype": EVIL}
        for one in told["counterfactuals"]:
            one["change"] = EVIL
        path.write_text(json.dumps(told))
    (folder / "importance.json").write_text(json.dumps({EVIL: {EVIL: 1.0}, "fanova": {EVIL: 0.5}}))
    return folder


@pytest.mark.parametrize("kind", ["search", "experiment"])
def test_no_text_of_a_folder_becomes_markup(
    tmp_path: Path, make_results: Make, make_experiment: Make, make_claim: Callable[..., Any], kind: str
) -> None:
    claims = [make_claim(EVIL[:60], text=EVIL, source=EVIL)]
    made = make_results(tmp_path) if kind == "search" else make_experiment(tmp_path, claims)
    page = build_report(rewritten(made)).read_text(encoding="utf-8")
    found = Markup(page)
    assert found.is_clean and found.tags.count("script") == SCRIPTS
    assert "&lt;evil&gt;" in page, "it is shown"
    # Rows of tables are the only text that a script makes markup of.
    packed = re.findall(r'id="(?:payload|trials)-gz">([^<]+)<', page)
    rows = [text for one in packed for text in texts(json.loads(gzip.decompress(base64.b64decode(one)))) if "<" in text]
    tables = [text for text in rows if text.startswith("<tr")]
    assert tables and all(Markup(row).is_clean for row in tables)


INJECTED = "1\nimport os; os.system('evil')\n#"
PLACES = {
    "training": [
        ("batch_size",), ("accumulate",), ("eval_every_steps",), ("normalization",), ("optimizer", "lr"),
        ("optimizer", "kind"), ("optimizer", "beta1"), ("schedule", "warmup_steps"), ("schedule", "kind"),
        ("clip", "max_norm"), ("precision", "kind"), ("bad_batch", "kind"),
    ],
    "model": [("kind",), ("width",), ("norm",), ("init_scale",), ("x\nimport os",)],
}  # fmt: skip


def test_a_recipe_of_a_folder_puts_no_code_into_the_code_that_readers_copy(results: Path) -> None:
    recipe = load_view(results).recipe_yaml or ""
    assert ast.parse(_snippet(recipe) or "")
    for section, paths in PLACES.items():
        for path in paths:
            hostile = yaml.safe_load(recipe)
            here = hostile[section]
            for key in path[:-1]:
                here = here.setdefault(key, {})
            here[path[-1]] = INJECTED
            assert _snippet(yaml.safe_dump(hostile)) is None, (section, path)


def test_code_beside_a_recipe_is_not_shown_as_made_of_it(tmp_path: Path, make_results: Make) -> None:
    folder = make_results(tmp_path)
    view = load_view(folder)
    (folder / "recipe.yaml").write_text(view.recipe_yaml or "")
    (folder / "recipe.py").write_text("import os; os.system('evil')\n")
    assert load_view(folder).snippet == view.snippet is not None
