"""A report to be shared: nothing in it, packed blocks included, names the machine, its user or where files lie."""

import base64
import getpass
import gzip
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep import store
from sweep.report import build_report
from sweep.report.command import main
from sweep.report.contents.view import load_view
from sweep.report.private import Hidden

Make = Callable[..., Path]
HOST, USER = "gpunode17", "a.lovelace"
SECRETS = (
    HOST, USER, "ZX-9000", "Tensor Card", "6.18.44-odd", "glibc", "9.9.9", "5bce98f73f3e", "corpora", "My Videos",
    "/home", "notes.example",
)  # fmt: skip


def shown(page: Path) -> dict[str, str]:
    """What a page says, its packed blocks by their names; without Plotly's own code, which nobody here wrote."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r'<script type="text/plain" id="([a-z]+)-gz">([^<]*)</script>', text)
    told = {name: gzip.decompress(base64.b64decode(packed)).decode() for name, packed in blocks}
    del told["plotly"]
    return {"page": re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL), **told}


@pytest.fixture
def folder(tmp_path: Path, make_results: Make, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(socket, "gethostname", lambda: f"{HOST}.cluster")
    monkeypatch.setattr(getpass, "getuser", lambda: USER)
    folder = make_results(tmp_path, num_trials=12, num_confirm=0, description=f"Tried by {USER} on {HOST}.")
    content = store.read_study(folder)
    content["provenance"]["host"] = {"platform": "Linux-6.18.44-odd-glibc2.36", "cpu": "ZX-9000", "gpu": "Tensor Card"}
    content["provenance"]["versions"] = {"torch": "9.9.9"}
    content["provenance"]["run"] = {"machine": "5bce98f73f3e"}
    content["provenance"]["data"]["source"] = "4 files of /mnt/corpora/My Videos/set 1"
    content["data"] = {"kind": "landmarks", "path": "/mnt/corpora/My Videos/set 1"}
    store.write_yaml(folder / "study.yaml", content)
    trials = store.read_trials(folder)
    reasons = [
        f"FileNotFoundError: /home/{USER}/run/a.npy",
        f"<_io.TextIOWrapper name='/home/{USER}/log'> on {HOST}",
        "see https://notes.example/run/7 or C:\\Users\\ada\\x.txt",
        "no such file: ~/corpora/b.npy",
    ]
    cycled = [reasons[i % 4] for i in range(len(trials))]
    trials.assign(reason=cycled, cause=cycled).to_parquet(folder / "trials.parquet")
    (folder / "steps" / "t0001.parquet").write_bytes(b"damaged")
    return folder


def test_nothing_names_the_machine_its_user_or_where_files_lie(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_page = shown(build_report(folder))
    assert {one for one in SECRETS if any(one in text for text in open_page.values())} >= set(SECRETS) - {
        "5bce98f73f3e"
    }
    assert main([str(folder), "--private"]) == 0
    page = Path(capsys.readouterr().out.splitlines()[-1])
    assert page == folder / "report-private.html" and (folder / "report.html").exists()
    told = shown(page)
    found = [(name, one) for name, text in told.items() for one in (*SECRETS, str(folder), "Users") if one in text]
    assert found == []
    assert "Tried by (name) on (name)." in told["page"] and "FileNotFoundError: (path)" in told["trials"]
    assert "damaged" in told["page"], "that a file is damaged is said all the same"


def test_all_else_stays_as_it_is(folder: Path) -> None:
    content = store.read_study(folder)
    content["data"] = {"kind": "fingerspelling", "alphabet_size": 10}
    content["description"] = "as it is"
    store.write_yaml(folder / "study.yaml", content)
    trials = store.read_trials(folder)
    trials.assign(reason="nats/label rose by 3/4; <b> and w/o a cause", cause="x").to_parquet(folder / "trials.parquet")
    both = [shown(build_report(folder, private=private)) for private in (False, True)]
    for name in ("payload", "trials", "courses"):
        assert json.loads(both[0][name]) == json.loads(both[1][name]), name
    rest = [re.split(r'<section id="(?:made|damaged)"', one["page"]) for one in both]
    assert rest[0][0] == rest[1][0] and len(rest[0]) == len(rest[1])


def test_names_that_are_everybody_s_and_markup_are_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "td")
    hidden = Hidden(load_view(folder))
    assert hidden.html('<td title="td of td">td</td>') == '<td title="(name) of (name)">(name)</td>'
    assert hidden.values({"bdata": "/a/b/c", "x": ["/a/b/c", 1.5, None]}) == {
        "bdata": "/a/b/c",
        "x": ["(path)", 1.5, None],
    }
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    assert Hidden(load_view(folder)).text("root mean square") == "root mean square"
