"""The check of a study's data: every injected fault is named with its place and rank; exit codes; calibration."""

import json
from pathlib import Path

import numpy as np
import pytest

from slr_models.data import SyntheticConfig
from sweep.check.__main__ import main
from sweep.check.calibration import expected_skips, largest_half_gradient, leading_skips
from sweep.precision import Fp16
from sweep.train import TrialConfig

STUDY = """
name: tiny
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic, vocabulary_size: 4, num_train: 48, num_valid: 8, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4}
space: {training.optimizer.lr: {loguniform: [1e-3, 1]}}
search: {kind: random}
budget: {trials: 2, steps: 60}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY)
    return path


def checked(capsys, study: Path, *overrides: str) -> tuple[int, dict]:
    code = main([str(study), "--json", *(part for override in overrides for part in ("--set", override))])
    out, err = capsys.readouterr()
    assert err == "" and out.count("\n") == 1
    return code, json.loads(out)


def kinds(report: dict, severity: str) -> list[str]:
    return [problem["kind"] for problem in report["problems"] if problem["severity"] == severity]


def test_clean_data_have_no_errors(study, capsys) -> None:
    code, report = checked(capsys, study)
    assert code == 0 and report["ok"] and not report["problems"]
    assert report["num_train"] == 48 and 0.5 < report["l_const"] < report["l_unif"]
    assert report["least_spare_outputs"] >= 0 and report["calibration"] == [] and report["largest_gradient"] is None
    assert main([str(study)]) == 0
    assert "nothing wrong found" in capsys.readouterr().out


def test_infeasible_targets_and_nan_are_errors_with_their_places(study, capsys) -> None:
    code, report = checked(capsys, study, "data.infeasible_rate=0.1", "data.min_labels=2", "data.nan_rate=0.05")
    assert code == 1 and not report["ok"]
    assert kinds(report, "error") == ["infeasible targets", "non-finite features"]
    infeasible, nonfinite = report["problems"][:2]
    assert len(infeasible["items"]) == 5 and all("needs" in item for item in infeasible["items"])
    assert len(nonfinite["items"]) == 2 and "24 NaN in features[0]" in nonfinite["items"][0]
    assert report["least_spare_outputs"] == -1
    assert main([str(study), "--set", "data.nan_rate=0.5"]) == 1
    out = capsys.readouterr().out
    assert "error: non-finite features: 24 of 48" in out and "and 19 more" in out and "1 error" in out


def test_no_feasible_target_at_all_is_an_error(study, capsys) -> None:
    code, report = checked(
        capsys, study, "data.infeasible_rate=1.0", "data.min_labels=2", "training.precision.kind=fp16"
    )
    assert code == 1 and "nothing to learn" in kinds(report, "error") and report["l_const"] is None


CUSTOM = """
from dataclasses import replace
import numpy as np
from slr_models.data import SyntheticConfig
from slr_models.data.batch import Split

def faulty():
    data = SyntheticConfig(vocabulary_size=4, num_train=48, num_valid=8).build()
    train, valid = data.train, data.valid
    features = train.features.copy()
    features[train.offsets[5]:train.offsets[6]] *= 1e6
    features[:, 3] = 0.5
    labels = np.where(train.labels == 2, 1, train.labels)
    first = len(train.utterance(0))
    blocks = [valid.utterance(i) for i in range(len(valid))] + [features[:first]]
    targets = [valid.target(i).tolist() for i in range(len(valid))] + [labels[: train.label_offsets[1]].tolist()]
    ids = [*valid.ids, "leak"]
    valid = Split.from_utterances(blocks, targets, ids, [""] * len(ids), valid.num_features)
    return replace(data, train=replace(train, features=features, labels=labels), valid=valid)
"""


def test_faults_of_scale_labels_and_splits(study, tmp_path, capsys, monkeypatch) -> None:
    (tmp_path / "faulty_data.py").write_text(CUSTOM)
    monkeypatch.syspath_prepend(tmp_path)
    data = "data={kind: custom, factory: 'faulty_data:faulty'}"
    code, report = checked(capsys, study, data)
    assert code == 0 and kinds(report, "warning") == [
        "constant features",
        "scale outliers (training utterances)",
        "untrained labels",
        "validation data in training",
    ]
    items = [problem["items"] for problem in report["problems"]]
    assert items[0] == ["features[3]"] and "train-5: largest absolute value" in items[1][0]
    assert items[2] == ["w2"] and items[3] == ["train-0 = leak"]
    space = "space={training.precision.kind: {choice: [fp32, fp16]}}"
    code, report = checked(capsys, study, data, space)
    assert code == 1 and kinds(report, "error") == ["features too large for fp16"]


def manifest(folder: Path, bad: bool) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = ["id,path,labels,signer,split"]
    for k in range(12):
        block = rng.normal(size=(30, 5)).astype(np.float32)
        if bad and k in (2, 7):
            block[3, 1] = np.nan
        np.save(folder / f"{k}.npy", block)
        rows.append(f"u{k},{k}.npy,{'A B' if k % 2 else 'B C A'},s{k % 3},{'valid' if k > 8 else 'train'}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")


def test_a_source_that_stops_at_the_first_bad_file_is_read_to_the_end(study, tmp_path, capsys) -> None:
    manifest(tmp_path / "bad", bad=True)
    data = f"data={{kind: landmarks, path: {tmp_path / 'bad'}}}"
    code, report = checked(capsys, study, data)
    assert code == 1 and kinds(report, "error") == ["bad utterances"] and report["num_train"] == 7
    assert "2.npy holds NaN" in report["problems"][0]["text"] and report["exclusions"] == {"non-finite features": 2}
    code, report = checked(capsys, study, data[:-1] + ", on_bad: exclude}")
    assert code == 0 and "left out" in kinds(report, "warning")
    manifest(tmp_path / "good", bad=False)
    assert checked(capsys, study, f"data={{kind: landmarks, path: {tmp_path / 'good'}}}")[0] == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.kind=basline", "model.kind is 'basline'"),
        ("data={kind: landmarks, path: /no/such/folder}", "/no/such/folder"),
        ("nonsense", "dotted.path=value"),
    ],
)
def test_mistakes_end_with_code_2(study, capsys, override, message) -> None:
    assert main([str(study), "--set", override]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and message in err and "Traceback" not in err


def test_the_formula_of_calibration() -> None:
    assert expected_skips(Fp16(initial_scale=65536), 3.97) == 2
    assert expected_skips(Fp16(initial_scale=65536), 0.5) == 0
    assert expected_skips(Fp16(initial_scale=2.0**32), 3.97) == 18
    assert expected_skips(Fp16(initial_scale=65536, backoff_factor=0.25), 3.97) == 1
    assert expected_skips(Fp16(), float("nan")) is None


def test_expected_skips_are_those_of_a_real_start() -> None:
    """On one batch that is the whole set, so that both look at the same gradients."""
    data = SyntheticConfig(vocabulary_size=4, num_train=4, num_valid=2, frames_per_label=6, max_labels=3)
    dataset = data.build()
    content = {"model": {"kind": "teacher", "width": 0.0625}, "data": data, "training": {"batch_size": 4}}
    config = TrialConfig.model_validate({**content, "data": data.model_dump()})
    largest = largest_half_gradient(config, dataset, range(4), seed=0)
    for exponent in (4, 16, 24):
        precision = Fp16(initial_scale=2.0**exponent)
        measured = leading_skips(config, precision, dataset, seed=0, limit_s=60)
        assert measured == expected_skips(precision, largest)
    assert leading_skips(config, Fp16(initial_scale=2.0**60), dataset, seed=0, limit_s=0) is None


def test_every_scale_of_a_study_is_measured(study, capsys) -> None:
    scales = "space={training.precision.initial_scale: {grid: [1, 16777216]}}"
    code, report = checked(capsys, study, "training.precision={kind: fp16}", scales)
    assert code == 0 and [start["initial_scale"] for start in report["calibration"]] == [1, 16777216]
    assert report["calibration"][0]["measured_skips"] == 0 < report["calibration"][1]["measured_skips"]
    assert main([str(study), "--set", "training.precision={kind: fp16}"]) == 0
    assert "loss scale 65536: first steps skipped to calibrate" in capsys.readouterr().out


def test_large_sets_are_looked_at_in_seconds(study, capsys) -> None:
    code, report = checked(capsys, study, "data.num_train=2000", "data.num_valid=200")
    assert code == 0 and report["num_train"] == 2000
