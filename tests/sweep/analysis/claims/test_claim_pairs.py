"""From trials to responses and block effects."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from slr_models.errors import ResultsError
from sweep.analysis.claims.pairs import edge_between, num_finished, pairs
from sweep.analysis.claims.responses import censored, response

Make = Callable[..., dict[str, Any]]
Table = Callable[..., pd.DataFrame]
Evals = Callable[[str], pd.DataFrame]

TWO = {
    "model": {"teacher": {"model.kind": "teacher"}, "baseline": {"model.kind": "baseline"}},
    "precision": {p: {"training.precision.kind": p} for p in ("fp32", "fp16")},
}


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("stable", {"stable": False}, 0.0),
        ("wer", {"wer": 0.3}, 0.3),
        ("wer", {"stable": False, "wer": 0.3}, 1.0),
        ("wer", {"stable": False, "wer": 1.4}, 1.0),
        ("wer", {"wer": 1.4}, 1.0),
        ("wer", {"stable": False, "wer": np.nan}, 1.0),
        ("val_loss", {"val_loss": 1.2}, 1.2),
        ("val_loss", {"stable": False, "val_loss": 1e9}, 9.0),
        ("val_loss", {"stable": False, "val_loss": np.nan}, 9.0),
        ("val_loss", {"val_loss": np.inf}, 9.0),
        ("val_loss", {"stable": False, "val_loss": 4.5}, 4.5),
        ("train_loss", {"stable": False, "final_train_loss": 1.0}, 3.0),
        ("leading_infs", {"stable": False, "skipped_calibration": 4}, 4.0),
        ("skipped_rate", {"num_steps": 24, "skipped_calibration": 4, "skipped_threshold": 5}, 0.25),
        ("skipped_rate", {"num_steps": 4, "skipped_calibration": 4}, 1.0),
        ("samples_per_s", {"step_time_s": 0.5}, 4.0),
        ("samples_per_s", {"step_time_s": 0.5, "training.batch_size": 6.0}, 12.0),
        ("peak_memory_mib", {"peak_memory_mib": 70.0}, 70.0),
        ("wer", {"verdict": "crashed", "stable": False}, np.nan),
    ],
)
def test_every_training_has_a_response(
    trials: Table, study: Make, claim: Make, no_evals: Evals, name: str, row: dict[str, Any], expected: float
) -> None:
    frame = trials([(0, "precision=fp32", row)])
    found = response(frame, no_evals, claim(response=name), study())
    assert float(found.iloc[0]) == pytest.approx(expected, nan_ok=True)


def test_steps_to_a_loss(trials: Table, study: Make, claim: Make) -> None:
    frame = trials([(0, "a=b", {}), (1, "a=b", {}), (2, "a=b", {"stable": False}), (3, "a=b", {})])
    losses = {"0000": [2.0, 1.4, 1.6], "0001": [3.0, np.nan, 1.5], "0002": [1.0, 1.0, 1.0]}

    def evals(trial_id: str) -> pd.DataFrame:
        if trial_id not in losses:
            raise ResultsError("none")
        return pd.DataFrame({"step": [30, 60, 90], "val_loss": losses[trial_id]})

    found = response(frame, evals, claim(response="steps_to_loss"), study())
    assert found.tolist() == pytest.approx([60.0, 100.0, 100.0, np.nan], nan_ok=True)
    assert censored(frame, found, "steps_to_loss").tolist() == [False, True, True, False]


def test_blocks_count_in_order_and_only_whole_ones(trials: Table, study: Make, claim: Make, no_evals: Evals) -> None:
    rows = [(b, f"precision={p}", {"wer": 0.1 * b}) for b in (0, 1, 3) for p in ("fp16", "fp32")]
    frame = trials([*rows, (2, "precision=fp32", {})])
    assert num_finished(frame, study().design) == 2
    assert pairs(frame, claim(response="wer"), study(), no_evals).blocks.tolist() == [0, 1]
    assert pairs(frame, claim(response="wer"), study(), no_evals, blocks=1).blocks.tolist() == [0]


def test_a_crash_leaves_its_block_out_and_holds_nothing_up(
    trials: Table, study: Make, claim: Make, no_evals: Evals
) -> None:
    crash = {"verdict": "out-of-memory", "stable": False}
    frame = trials(
        [(b, f"precision={p}", crash if (b, p) == (1, "fp16") else {}) for b in range(3) for p in TWO["precision"]]
    )
    found = pairs(frame, claim(), study(), no_evals)
    assert num_finished(frame, study().design) == 3
    assert found.blocks.tolist() == [0, 2]
    assert (found.left_out, found.crashed) == (1, 1)


def test_trainings_of_other_phases_are_no_part(trials: Table, study: Make, claim: Make, no_evals: Evals) -> None:
    frame = trials([(0, f"precision={p}", {}) for p in TWO["precision"]])
    more = trials([(0, "precision=fp16", {"phase": "confirm", "stable": False, "block": None, "cell": None})])
    found = pairs(pd.concat([frame, more], ignore_index=True), claim(), study(), no_evals)
    assert found.values.tolist() == [[1.0, 1.0]]


def factorial(trials: Table, values: dict[tuple[str, str], list[float]]) -> pd.DataFrame:
    num = len(next(iter(values.values())))
    return trials(
        [
            (b, f"model={m}, precision={p}", {"wer": values[m, p][b]})
            for b in range(num)
            for m in TWO["model"]
            for p in TWO["precision"]
        ]
    )


WER = {
    ("teacher", "fp32"): [0.1, 0.2],
    ("teacher", "fp16"): [0.5, 0.4],
    ("baseline", "fp32"): [0.3, 0.2],
    ("baseline", "fp16"): [0.4, 0.2],
}


def test_other_factors_are_averaged_over_or_held(trials: Table, study: Make, claim: Make, no_evals: Evals) -> None:
    frame, two = factorial(trials, WER), study(design={"factors": TWO})
    mean = pairs(frame, claim(response="wer"), two, no_evals)
    assert mean.values == pytest.approx(np.array([[0.2, 0.45], [0.2, 0.3]]))
    assert mean.effects == pytest.approx([0.25, 0.1])
    assert mean.cells == 2
    held = pairs(frame, claim(response="wer", where={"model": "teacher"}), two, no_evals)
    assert held.effects == pytest.approx([0.4, 0.2])


def test_an_interaction_is_the_effect_at_the_other_level_less_that_at_the_reference(
    trials: Table, study: Make, claim: Make, no_evals: Evals
) -> None:
    wanted = claim(response="wer", by="model", by_levels=["teacher", "baseline"])
    found = pairs(factorial(trials, WER), wanted, study(design={"factors": TWO}), no_evals)
    assert found.labels == ("teacher fp32", "teacher fp16", "baseline fp32", "baseline fp16")
    assert found.effects == pytest.approx([0.1 - 0.4, 0.0 - 0.2])


def test_a_half_fraction_has_half_of_the_cells(trials: Table, study: Make, claim: Make, no_evals: Evals) -> None:
    clip = {name: {"training.clip.max_norm": norm} for name, norm in (("tight", 0.5), ("loose", 5.0))}
    half = study(design={"factors": {**TWO, "clip": clip}, "fraction": "half"})
    cells = ("teacher, precision=fp32, clip=tight", "teacher, precision=fp16, clip=loose",
             "baseline, precision=fp32, clip=loose", "baseline, precision=fp16, clip=tight")  # fmt: skip
    frame = trials([(0, f"model={cell}", {"wer": 0.4 if "fp16" in cell else 0.1}) for cell in cells])
    assert pairs(frame, claim(response="wer"), half, no_evals).effects == pytest.approx([0.3])


def test_a_ratio_is_of_logarithms_and_not_of_zero(paired: Table, study: Make, claim: Make, no_evals: Evals) -> None:
    frame = paired("step_time_s", [(0.1, 0.2), (0.2, 0.2), (0.1, 0.0)])
    found = pairs(frame, claim(response="step_time_s", effect="ratio", value=1.0), study(), no_evals)
    assert found.effects == pytest.approx([np.log(2), 0.0])
    assert found.values == pytest.approx(np.array([[0.1, 0.2], [0.2, 0.2]]))
    assert found.undefined == 1


def test_a_slope_is_a_doubling(trials: Table, study: Make, claim: Make, no_evals: Evals) -> None:
    scales = {str(2**k): {"training.precision.init_scale": 2**k} for k in (8, 12, 14)}
    frame = trials(
        [
            (b, f"scale={s}", {"skipped_calibration": i + b})
            for b in range(2)
            for s, i in zip(scales, (0, 4, 6), strict=True)
        ]
    )
    wanted = claim(factor="scale", levels=list(scales), effect="slope", response="leading_infs")
    found = pairs(frame, wanted, study(design={"factors": {"scale": scales}}), no_evals)
    assert found.effects == pytest.approx([1.0, 1.0])
    assert found.labels == ("256", "4096", "16384")


@pytest.mark.parametrize(
    ("stable", "low", "high"),
    [
        ([1, 1, 0, 0], -3.0, -2.0),
        ([0, 1, 1, 0], -2.0, -1.0),  # too cold to learn at the first rung
        ([1, 0, 1, 0], -2.0, -1.0),
        ([1, 1, 1, 1], -1.0, np.inf),
        ([0, 0, 0, 0], -np.inf, -4.0),
    ],
)
def test_the_edge_lies_above_the_highest_stable_rung(stable: list[int], low: float, high: float) -> None:
    order = np.array([2, 0, 3, 1])
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1])
    assert edge_between(rates[order], np.array(stable, dtype=bool)[order]) == pytest.approx((low, high))


def test_edges_of_a_block_come_from_its_rungs(trials: Table, study: Make, claim: Make, no_evals: Evals) -> None:
    rates = (0.001, 0.01, 0.1)
    factors = {"precision": TWO["precision"], "lr": {str(r): {"training.optimizer.lr": r} for r in rates}}
    top = {"fp32": 0.1, "fp16": 0.001}
    frame = trials(
        [
            (0, f"precision={p}, lr={r}", {"stable": r <= top[p], "training.optimizer.lr": r})
            for p in TWO["precision"]
            for r in rates
        ]
    )
    found = pairs(frame, claim(response="edge_lr"), study(design={"factors": factors}), no_evals)
    assert found.low == pytest.approx(np.array([[-1.0, -3.0]]))
    assert found.high == pytest.approx(np.array([[np.inf, -2.0]]))
    assert found.values == pytest.approx(np.array([[-1.0, -2.5]]))
    assert found.censored.tolist() == [[True, False]]
