"""slr-sweep train: a setting of a study longer, its weights in a file that builds the model again, and resumed."""

import shutil
from pathlib import Path

import pytest
import torch

from slr_models.errors import DataError
from slr_models.models import load_model
from sweep import store
from sweep.records import Outcome, Phase, TrialResult
from sweep.train.chosen import chosen
from sweep.train.command import main
from sweep.train.longer import CHECKPOINT, LongerTraining
from sweep.training.train import Training

STUDY = {
    "name": "tiny",
    "model": {"kind": "baseline", "width": 0.0625},
    "data": {
        "kind": "synthetic",
        "vocabulary_size": 3,
        "num_train": 48,
        "num_valid": 8,
        "frames_per_label": 6,
        "max_labels": 2,
        "noise": 0.1,
    },
    "training": {"batch_size": 8, "eval_every_steps": 10, "schedule": {"kind": "constant"}},
    "space": {"training.optimizer.lr": {"loguniform": [1e-4, 1e3]}},
    "budget": {"trials": 2, "steps": 10},
}
FACTS = {"num_train": 48, "num_valid": 8, "num_features": 24, "vocabulary_size": 4}


def trial(trial_id: str, lr: float) -> dict[str, object]:
    return TrialResult(
        trial_id=trial_id,
        number=int(trial_id),
        group=0,
        seed=3,
        phase=Phase.EXPLORE,
        settings={"training.optimizer.lr": lr},
        verdict=Outcome.STABLE,
        reason="",
        stop_step=None,
        num_steps=10,
        max_steps=10,
        objective=0.1,
        margin=-1.0,
        l_const=1.5,
        l_unif=2.0,
        applied_update_rate=1.0,
        skipped_nonfinite=0,
        wall_s=1.0,
        cpu_s=1.0,
        precision_implementation="fp32",
    ).row()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good trial, a hot one, and a recommendation."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("results") / "tiny"
    store.write_yaml(folder / "study.yaml", {**STUDY, "provenance": {"data": FACTS}})
    store.write_trials(folder, [trial("0000", 3e-3), trial("0001", 500.0)])
    recipe = {key: value for key, value in STUDY.items() if key != "space"}
    recipe["training"] = {**STUDY["training"], "optimizer": {"kind": "adamw", "lr": 5e-3}}
    store.write_yaml(folder / "recipe.yaml", {**recipe, "name": "tiny-recipe"})
    return folder


@pytest.fixture
def results(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "tiny"))


def test_the_recommended_setting_is_trained_four_times_as_long(results: Path, capsys) -> None:
    assert main([str(results)]) == 0
    out = capsys.readouterr().out
    assert "training recommended for 40 steps on the cpu\n" in out and "step 40/40" in out
    assert out.count("  WER ") == 4 and "rate 0.005" in out
    path = results / "trained" / "recommended" / "model.pt"
    assert f'model, vocabulary = load_model("{path}")' in out
    model, vocabulary = load_model(path)
    assert len(vocabulary) == 4 and not model.training
    with torch.no_grad():
        logits = model(torch.zeros(1, 20, 24), torch.tensor([20]))
    assert logits.shape == (1, 5, 4) and torch.isfinite(logits).all()


def test_the_file_holds_the_weights_that_were_measured(results: Path) -> None:
    what = chosen(results, "0", 20, trust=False)
    assert (what.name, what.seed, what.steps) == ("0000", 3, 20)
    training = LongerTraining(what, results / "trained" / "0000")
    training.run(lambda line: None)
    best_step = int(training.best["step"])
    again = Training(what.config, what.dataset, seed=3, max_steps=20, device=torch.device("cpu"))
    for _ in again.records():
        if again.step == best_step and again._last_eval_step == best_step:
            break
    model, _ = load_model(training.model_path)
    for name, weights in again.model.state_dict().items():
        assert torch.equal(weights, model.state_dict()[name]), name


def test_it_goes_on_from_its_latest_evaluation_to_the_same_end(results: Path) -> None:
    what, folder = chosen(results, "0000", 30, trust=False), results / "trained" / "0000"
    whole, lines = LongerTraining(what, results / "whole"), []
    verdict = whole.run(lambda line: lines.append(line.split(" s")[0].rpartition(" ")[0]))

    def interrupt(line: str) -> None:
        if line.startswith("step 20/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LongerTraining(what, folder).run(interrupt)
    resumed, rest = LongerTraining(what, folder), []
    assert resumed.step == 20
    assert resumed.run(lambda line: rest.append(line.split(" s")[0].rpartition(" ")[0])) == verdict
    assert rest == lines[2:] and resumed.best == whole.best
    done = LongerTraining(what, folder)
    assert done.run(rest.append) == verdict and done.best == whole.best and len(rest) == len(lines) - 2


def test_weights_of_another_training_are_not_lost(results: Path, capsys) -> None:
    assert main([str(results), "0000", "--steps", "20"]) in (0, 1)
    folder = results / "trained" / "0000"
    kept = (folder / "model.pt").read_bytes()
    assert main([str(results), "0000", "--steps", "10"]) == 2
    assert "holds another training, of other --steps" in capsys.readouterr().err
    assert (folder / "model.pt").read_bytes() == kept
    (folder / "model.pt").unlink()
    assert LongerTraining(chosen(results, "0000", 20, trust=False), folder).best is None
    state = torch.load(folder / CHECKPOINT, weights_only=True)
    for damaged in (b"", b"no checkpoint", {"of": state["of"]}, [1]):
        if isinstance(damaged, bytes):
            (folder / CHECKPOINT).write_bytes(damaged)
        else:
            torch.save(damaged, folder / CHECKPOINT)
        assert main([str(results), "0000", "--steps", "20"]) == 2
        err = capsys.readouterr().err
        assert "last.pt is damaged: delete it to begin anew" in err and err.count("\n") == 1, err


def test_one_that_diverges_ends_with_its_verdict(results: Path, capsys) -> None:
    assert main([str(results), "0001", "--steps", "400"]) == 1
    out = capsys.readouterr().out
    assert "step 400/400" not in out and ("diverged" in out or "stalled" in out)


def test_mistakes_are_one_line(results: Path, tmp_path: Path, capsys) -> None:
    own = tmp_path / "own"
    store.write_yaml(
        own / "study.yaml",
        {
            "name": "own",
            "trial": {"kind": "command", "run": "true {lr}"},
            "space": {"lr": {"loguniform": [1e-3, 1]}},
            "provenance": {},
        },
    )
    for arguments, said in (
        ([str(own)], "only you can train longer"),
        ([str(results), "0009"], "holds no finished trial '0009'"),
        ([str(results), ""], "holds no finished trial ''"),
        ([str(results), "--steps", "0"], "give at least 1"),
        ([str(tmp_path / "none")], "none"),
    ):
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1, err
    (results / "recipe.yaml").unlink()
    assert main([str(results)]) == 2
    assert "recommends no setting (yet): name a trial" in capsys.readouterr().err
    (tmp_path / "model.pt").write_bytes(b"no model")
    with pytest.raises(DataError, match="is no model that slr-sweep train wrote"):
        load_model(tmp_path / "model.pt")


def test_a_full_disk_is_the_machines(results: Path, capsys, monkeypatch) -> None:
    def full(content: object, path: Path) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 76288 vs 76224")

    monkeypatch.setattr(torch, "save", full)
    assert main([str(results), "0000", "--steps", "20"]) == 3
    err = capsys.readouterr().err
    assert "model.pt" in err and "is the disk full?" in err and err.count("\n") == 1
    assert not any((results / "trained" / "0000").iterdir())
