"""Where the system has no `fcntl`, as on Windows, results are read as anywhere else."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweep.records import Outcome
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import Ask

READING = """
import json, sys
sys.modules["fcntl"] = None
from pathlib import Path
import sweep
from sweep import compare
from sweep.report.__main__ import main as report
from sweep.watch.folder import Folder

folder = sys.argv[1]
found = {
    "trials": len(sweep.load(folder).trials),
    "report": report([folder]),
    "compare": compare.main([sys.argv[2], folder]),
    "status": Folder(Path(folder)).standing().status,
    "asked": Folder(Path(folder)).standing().num_asked,
    "fcntl": str(sys.modules["fcntl"]),
}
print(json.dumps(found))
"""


@pytest.mark.slow
def test_results_are_read_reported_watched_and_compared(results: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(results, folder)
    (folder / "report.html").unlink(missing_ok=True)
    ledger = Ledger(tmp_path / "begun")
    ledger.ask(Ask("0000", 0, 0, 0, "explore", {"training.optimizer.lr": 0.1}))
    ledger.close()
    (tmp_path / "begun" / "ledger.jsonl").rename(folder / "ledger.jsonl")
    command = [sys.executable, "-c", READING, str(folder), str(results)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    num_trials = found.pop("trials")
    assert found == {"report": 0, "compare": 0, "status": "ended", "asked": 1, "fcntl": "None"}
    assert num_trials > len(Outcome) and (folder / "report.html").is_file()
    assert not list(folder.glob("*.lock")), "reading locks nothing"
