"""python -m sweep.explain: from a results folder to a cause, without touching anything else in it."""

import dataclasses
import json

import pytest
import torch

from slr_models.data import SyntheticConfig
from sweep import store
from sweep.explain import main
from sweep.records import NAN, Cause, Explanation, HealthMetric, HealthRecord, Outcome, Phase, StepRecord, TrialResult
from sweep.study import load
from sweep.training.train import Training

STUDY = {
    "name": "tiny",
    "model": {"kind": "teacher", "width": 0.0625, "num_modules": 1, "num_encoder_layers": 1},
    "data": {
        "kind": "synthetic",
        "vocabulary_size": 4,
        "num_train": 48,
        "num_valid": 4,
        "frames_per_label": 6,
        "max_labels": 3,
    },
    "training": {"batch_size": 4, "precision": {"kind": "fp16"}},
    "space": {
        "model.conv_scale": {"choice": [1.0, 1e6]},
        "model.num_modules": {"int": [1, 2]},
        "training.precision.initial_scale": {
            "grid": [1024, 65536],
            "when": {"training.precision.kind": ["fp16"]},
        },
    },
    "budget": {"trials": 4, "steps": 30},
    "forensics": {"replay_steps": 12, "repeats": 1},
}
STUDY["space"]["training.precision.kind"] = {"choice": ["fp32", "fp16"]}


def result(trial_id, settings, verdict, reason="5 losses in a row are not finite, from step 1", num_steps=5):
    return TrialResult(
        trial_id=trial_id,
        number=int(trial_id),
        group=0,
        seed=0,
        phase=Phase.EXPLORE,
        settings=settings,
        verdict=verdict,
        reason=reason,
        stop_step=num_steps,
        num_steps=num_steps,
        max_steps=30,
        objective=3.0,
        margin=1.0,
        l_const=1.8,
        l_unif=2.04,
        applied_update_rate=0.0,
        skipped_nonfinite=5,
        wall_s=1.0,
        cpu_s=1.0,
        precision_implementation="fp16 emulated",
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder with one overflowing trial, a crashed one and a good one."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("results") / "tiny"
    facts = {"num_train": 48, "num_valid": 4, "num_features": 24, "vocabulary_size": 5}
    store.write_yaml(folder / "study.yaml", {**STUDY, "provenance": {"data": facts}})
    fp16 = {"training.precision.kind": "fp16", "training.precision.initial_scale": 1024, "model.num_modules": 1}
    bad = {**fp16, "model.conv_scale": 1e6}
    fp32 = {"training.precision.kind": "fp32", "model.num_modules": 1, "model.conv_scale": 1.0}
    store.write_trials(
        folder,
        [
            result("0000", bad, Outcome.DIVERGED_NONFINITE).row(),
            result("0001", fp32, Outcome.STABLE, "the loss ended at 0.1", 30).row(),
            result("0002", fp32, Outcome.CRASHED, "IndexError: index 7", 0).row(),
        ],
    )
    config = load(folder / "study.yaml").trial_config(bad)
    dataset = SyntheticConfig.model_validate(STUDY["data"]).build()
    training = Training(config, dataset, seed=0, max_steps=30, device=torch.device("cpu"))
    steps = [r for _, r in zip(range(8), training.records(), strict=False) if isinstance(r, StepRecord)][:5]
    store.write_steps(folder, "0000", steps)
    store.write_health(folder, "0000", [HealthRecord(2, HealthMetric.HEADROOM_BITS, "stem_convs.0", 1.0)])
    store.write_steps(folder, "0001", [StepRecord(s, 1.0, 1.0) for s in range(1, 31)])
    return folder


def test_a_bad_trial_is_explained_for_a_person_and_kept(results, capsys) -> None:
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    assert main([str(results), "0"]) == 0
    out, err = capsys.readouterr()
    assert err == "training up to 60 steps again to find out ...\n", "said before; twice the trial's 30 steps at most"
    assert "stem_convs.0 came within 1 bits of overflow at step 2" in out
    assert out.startswith("trial 0000: fp16 overflow in the forward pass (stem_convs.0")
    assert "fp32" in out and "rescued 1 of 1" in out and "first non-finite: linear in stem_convs.0 at step 1" in out
    assert store.read_explanation(results, "0000").cause is Cause.HALF_OVERFLOW
    assert all(path.read_bytes() == content for path, content in before.items()), "nothing else is written"


def test_json_is_the_stored_explanation(results, capsys) -> None:
    assert main([str(results), "0002", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["cause"] == "an exception" and "index 7" in printed["text"]
    assert printed == json.loads((results / "evidence" / "0002" / "explanation.json").read_text())


def test_a_good_trial_has_nothing_to_explain(results, capsys) -> None:
    assert main([str(results), "0001"]) == 0
    assert "nothing to explain" in capsys.readouterr().out


def test_of_a_program_of_ones_own_its_run_has_the_answer(tmp_path, capsys) -> None:
    own = {
        "name": "mine",
        "trial": {"kind": "command", "run": "python train.py --lr {lr}"},
        "space": {"lr": {"loguniform": [1e-5, 1]}},
        "budget": {"trials": 2, "steps": 30},
    }
    store.write_yaml(tmp_path / "study.yaml", {**own, "provenance": {}})
    failed = [result(f"000{n}", {"lr": 1e-4}, Outcome.STALLED, "learned nothing").row() for n in range(2)]
    store.write_trials(tmp_path, failed)
    found = Explanation(Cause.LR_TOO_LOW, "learning rate too low: LR x 10 from the start makes it begin to learn")
    store.write_explanation(tmp_path, "0000", found)
    assert main([str(tmp_path), "0"]) == 0
    assert capsys.readouterr().out == f"trial 0000: {found.text}\n"
    assert main([str(tmp_path), "0001"]) == 2
    told = capsys.readouterr().err
    assert "trial 0001 is a training of your own" in told and "It ended so: stalled, learned nothing" in told
    assert "what it printed" not in told


def test_mistakes_are_named(results, tmp_path, capsys) -> None:
    assert main([str(tmp_path / "nowhere"), "0000"]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert main([str(results), "0020"]) == 2
    assert "'0020'" in (error := capsys.readouterr().err) and "did you mean" in error


def edited(results, tmp_path, **changes):
    folder = tmp_path / "edited"
    content = store.read_study(results)
    store.write_yaml(folder / "study.yaml", {**content, **changes})
    (folder / "trials.parquet").write_bytes((results / "trials.parquet").read_bytes())
    return folder


def test_a_study_edited_since_is_refused(results, tmp_path, capsys) -> None:
    space = {"model.conv_scale": STUDY["space"]["model.conv_scale"]}
    assert main([str(edited(results, tmp_path, space=space)), "0000"]) == 2
    assert "was edited since the trials ran" in capsys.readouterr().err
    data = {**STUDY["data"], "num_train": 50}
    assert main([str(edited(results, tmp_path, data=data)), "0000"]) == 2
    assert "num_train was 48 and is 50 now" in capsys.readouterr().err


def test_a_trial_whose_steps_are_missing_keeps_the_explanation_that_it_has(results, tmp_path, capsys) -> None:
    folder = edited(results, tmp_path)
    trial_id = next(t for t, steps in store.read_trials(folder)[["trial_id", "num_steps"]].values if steps)
    store.write_text(store.evidence_path(folder, trial_id, "explanation.json"), "{}")
    assert main([str(folder), trial_id]) == 2
    assert f"{trial_id}.parquet is missing, and an explanation starts from" in capsys.readouterr().err
    assert store.evidence_path(folder, trial_id, "explanation.json").read_text() == "{}"


def test_a_model_whose_factory_is_gone_is_a_users_error(results, tmp_path, capsys) -> None:
    model = {"kind": "custom", "factory": "no_such_module_here:build", "output_stride": 4}
    folder = edited(results, tmp_path, model=model, space={})
    rows = [dataclasses.replace(result("0000", {}, Outcome.DIVERGED_NONFINITE), settings={}).row()]
    store.write_trials(folder, rows)
    store.write_steps(folder, "0000", [StepRecord(1, NAN, NAN, params_finite=False)])
    assert main([str(folder), "0000"]) == 2
    assert "no_such_module_here" in capsys.readouterr().err
