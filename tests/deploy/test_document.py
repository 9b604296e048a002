"""docs/cluster.md names files, options and settings that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")


def test_files_that_it_names_are_there() -> None:
    links = re.findall(r"\]\(([^)#]+)", DOCUMENT)
    named = re.findall(r"\b(?:deploy|tests|studies)/[\w/.-]*\w", DOCUMENT)
    assert len(links) > 5 and len(named) > 10
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_options_that_it_names_are_there() -> None:
    ours = [ROOT / "deploy" / "wait_for_nodes.py", *(ROOT / "sweep").rglob("command.py")]
    ours += [ROOT / "benchmarks" / "speed" / f"{name}.py" for name in ("lanes_scale", "suggestion")]
    known = "".join(path.read_text() for path in ours)
    commands = re.findall(r"(?:slr-sweep run|wait_for_nodes\.py|benchmarks\.speed\.\w+) [^`'\n&]*", DOCUMENT)
    options = {option for command in commands for option in re.findall(r"--[a-z-]+", command)}
    assert {"--gpus", "--time", "--trials"} <= options
    assert [option for option in options if f'"{option}"' not in known] == []


def test_what_the_job_scripts_can_be_told_is_what_the_document_says() -> None:
    for name in ("slurm.sh", "slurm-array.sh"):
        script = (ROOT / "deploy" / name).read_text()
        told = re.findall(r"\$\{((?!SLURM)[A-Z_]+):-(\d+)\}", script)
        assert told and [one for one, default in told if f"`{one}` ({default}" not in DOCUMENT] == []
