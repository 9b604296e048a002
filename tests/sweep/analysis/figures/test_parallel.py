import math
from collections.abc import Callable

import pandas as pd

from sweep.analysis.figures.parallel import MAX_LINES, common_text, parallel_info
from sweep.analysis.trials.dimensions import Dimension
from sweep.records import NotKnown, Outcome

Table = Callable[..., pd.DataFrame]

LR = Dimension("lr", "learning rate", "number", True, 1e-4, 1.0)
KIND = Dimension("kind", "precision", "category", levels=("fp32", "fp16"))
SCALE = Dimension("scale", "initial scale", "number", True, 2.0, 65536.0)
DIMS = (LR, KIND, SCALE)
GOOD = {"lr": 1e-3, "kind": "fp32", "scale": None}


def test_failed_trials_have_their_place_on_every_axis(table: Table) -> None:
    trials = table(
        [
            GOOD,
            {**GOOD, "lr": 0.1, "kind": "fp16", "scale": 256.0, "verdict": "stalled", "val_loss": 3.0, "wer": 1.0},
            {**GOOD, "lr": 0.5, "verdict": "diverged-nonfinite", "val_loss": None},
            {**GOOD, "lr": 0.2, "verdict": "diverged-loss", "val_loss": 4.0},
            {**GOOD, "lr": 0.3, "verdict": "blank-collapse", "val_loss": 30.0, "wer": 1.2},
        ]
    )
    info = parallel_info(trials, DIMS)
    assert not isinstance(info, NotKnown)
    names = ["learning rate", "precision", "initial scale", "val. loss (nats/label)", "WER", "outcome"]
    assert [axis.name for axis in info.axes] == names
    assert (info.axes[2].below, info.axes[3].above, info.axes[4].above) == ("off", "diverged or failed", "none")
    by_id = {line.trial_id: dict(zip(names, line.values, strict=True)) for line in info.lines}
    assert len(by_id) == 5 == info.num_trials
    assert by_id["t000"]["initial scale"] == -math.inf and by_id["t001"]["initial scale"] == 256.0
    assert by_id["t001"]["precision"] == 1.0 and by_id["t001"]["val. loss (nats/label)"] == 3.0
    lost = [trial_id for trial_id, values in by_id.items() if math.isinf(values["val. loss (nats/label)"])]
    assert sorted(lost) == ["t002", "t003", "t004"], "no loss, diverged, above twice L_unif"
    outcomes = info.axes[-1].levels
    assert all(outcomes[int(v["outcome"])] == trials.set_index("trial_id")["verdict"][t] for t, v in by_id.items())
    assert info.axes[4].high == 1.2, "insertions take WER above 100 %"


def test_of_many_trials_every_outcome_keeps_lines_and_the_rare_ones_lie_on_top(table: Table) -> None:
    rows = [{**GOOD, "verdict": "stalled" if i % 4 == 0 else "stable"} for i in range(2000)]
    rows[777] = {**GOOD, "verdict": "scaler-collapse"}
    info = parallel_info(table(rows), DIMS)
    assert not isinstance(info, NotKnown)
    drawn = [line.outcome for line in info.lines]
    assert MAX_LINES - 5 <= len(drawn) <= MAX_LINES and info.num_trials == 2000
    assert drawn[0] is Outcome.STABLE and drawn[-1] is Outcome.SCALER_COLLAPSE
    assert 0.2 < drawn.count(Outcome.STALLED) / len(drawn) < 0.32
    assert len({line.trial_id for line in info.lines}) == len(drawn)


def test_why_there_are_no_lines(table: Table) -> None:
    assert parallel_info(table([]), DIMS) == NotKnown("No trial has finished yet.")
    assert parallel_info(table([{}]), ()) == NotKnown("The study searches no setting.")


def test_the_same_in_words(table: Table) -> None:
    rows = [{**GOOD, "lr": 10.0**-k} for k in (2, 3, 4)] + [{**GOOD, "lr": 0.5, "kind": "fp16", "verdict": "stalled"}]
    text = common_text(table(rows), DIMS)
    assert text.startswith("learning rate: 0.0001 to 0.01 holds 80 % of the stable trials, 0.5 to 0.5 holds 80 %")
    assert "precision: fp32 is 100 % of the stable trials, fp16 is 100 % of the others" in text
