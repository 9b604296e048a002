"""Final validation loss and WER against the learning rate, with every diverged trial kept."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sweep.analysis.trials.columns import common_value, finite_or_nan, levels_of
from sweep.analysis.trials.dimensions import Dimension, plain
from sweep.analysis.trials.outcomes import at_level, finished, mapped
from sweep.own.program import Score
from sweep.records import Outcome, Phase

LEARNED = 0.95
"""A mean loss above this share of L_const is that of a model that learned nothing."""
LR_BINS = 12
"""Stretches of the searched range that a sensitivity is averaged over."""
MIN_BINS = 3
"""Stretches with a trial from which a mean over the range says something."""

LOST_ABOVE = 2.0
"""A final loss above this many times `L_unif` says only that the training failed."""


@dataclass(frozen=True)
class LrPoint:
    """One trial in the figure."""

    trial_id: str
    number: int
    seed: int
    lr: float
    outcome: Outcome
    val_loss: float
    """Nats a label; NaN where the trial has no finite value."""
    wer: float
    """NaN where the trial has no value; of the user's own trainings: their score, as it was reported."""
    reason: str
    lost: bool
    """Whether there is no meaningful end value: it diverged, none was measured, or it is above LOST_ABOVE."""


@dataclass(frozen=True)
class LrPanel:
    """The trials of one level (a precision)."""

    level: Any
    """None where trials are not split."""
    points: tuple[LrPoint, ...]


@dataclass(frozen=True)
class LrInfo:
    """What the figure shows."""

    lr_name: str
    log: bool
    panel_name: str | None
    panels: tuple[LrPanel, ...]
    num_foregone: int
    """Trials that are not shown, since they were ended where they were as good as stable."""
    l_const: float
    """Best loss of a predictor that ignores its input, nats a label; NaN if not known for all."""
    l_unif: float
    """Loss of a uniform output, nats a label; NaN if unknown or not the same for all."""
    score: Score | None = None
    """What trainings of the user's own are ranked by: it then stands in the place of the WER, as it was reported."""

    @property
    def loss_name(self) -> str:
        """What the upper part shows."""
        return "validation loss" if self.score is None else "loss"

    @property
    def result_name(self) -> str:
        """What the lower part shows."""
        return "WER" if self.score is None else self.score.name


@dataclass(frozen=True)
class LrSensitivity:
    """How much the learning rate's choice costs, at one level of the panel setting."""

    level: Any
    """None where trials are not split."""
    value: float
    """Mean over the searched range (on its own scale) of min(loss, L_unif), less `best_loss`; nats a label. NaN where
    `reason` says why."""
    relative: float
    """`value` as a share of L_const; NaN where either is unknown."""
    best_loss: float
    """Lowest mean loss of a stretch of the range, nats a label; NaN as `value`."""
    best_lr: float
    """Middle of that stretch; NaN as `value`."""
    num_trials: int
    num_bins: int
    """Equal stretches of the range that losses are averaged over."""
    num_filled: int
    """Stretches with a trial; the others are interpolated."""
    reason: str | None
    """Why there is no number; None where there is one."""
    curve: tuple[tuple[float, float, float], ...] = ()
    """(learning rate in the middle, mean loss in nats a label, mean WER) of each stretch with a trial. A training
    without a WER counts as 1, one above as 1."""


def lr_sensitivity(
    trials: pd.DataFrame, lr: Dimension, panel: Dimension | None, score: Score | None = None
) -> tuple[LrSensitivity, ...]:
    """`E over LR in [low, high] of min(loss(LR), L_unif) - best loss`, one a level with judged trials.

    loss(LR) is the mean final validation loss in each of LR_BINS equal stretches of the searched range, first over
    the seeds of a setting and then over settings, whatever their other settings are; stretches without a trial are
    interpolated between their neighbours. Trainings that were ended where they were as good as stable have no final
    loss, and are left out. The best loss is the lowest of these means. A loss that is missing or not
    finite counts as L_unif. After Wortsman et al. 2023 (arXiv 2309.14322), whose runs differ in the learning rate
    alone.
    """
    seen = with_results(finished(mapped(trials)), score)
    seen = seen[seen["phase"] != Phase.FULL_SIZE]
    known = seen[seen[lr.path].notna()] if lr.path in seen else seen.iloc[0:0]
    levels = levels_of(panel, known) if panel else [None]
    parts = [(level, at_level(known, panel.path, level) if panel else known) for level in levels]
    l_const, l_unif = common_value(trials, "l_const"), common_value(trials, "l_unif")
    has_wer = score is None
    return tuple(_sensitivity(level, p, lr, l_const, l_unif, has_wer=has_wer) for level, p in parts if len(p))


def _sensitivity(
    level: Any, part: pd.DataFrame, lr: Dimension, l_const: float, l_unif: float, *, has_wer: bool
) -> LrSensitivity:
    loss = part["val_loss"].astype(float).replace([np.inf, -np.inf], np.nan).fillna(l_unif).clip(upper=l_unif)
    places = np.array([lr.scale(float(v)) for v in part[lr.path]], dtype=float)
    bins = np.clip((places * LR_BINS).astype(int), 0, LR_BINS - 1)
    wer = part["wer"].astype(float).fillna(1.0).clip(upper=1.0) if has_wer else part["wer"].astype(float)
    settings = pd.DataFrame(
        {"bin": bins, "group": part["group"].to_numpy(), "loss": loss.to_numpy(), "wer": wer.to_numpy()}
    )
    both = settings.groupby(["bin", "group"])[["loss", "wer"]].mean().groupby("bin").mean()
    means = both["loss"]
    filled = means.index.to_numpy()
    reason = None
    if not math.isfinite(l_unif):
        reason = "The loss of a uniform output is not known, so nothing says what a lost training costs."
    elif len(filled) < MIN_BINS:
        reason = f"The trials lie in {len(filled)} of {LR_BINS} stretches of the range; {MIN_BINS} are needed."
    elif means.min() > LEARNED * l_const:
        reason = "Nothing was learned in any stretch on average, so no rate is better than another."
    curve = np.interp(np.arange(LR_BINS), filled, means.to_numpy()) if reason is None else np.full(LR_BINS, math.nan)
    value = float(curve.mean() - curve.min())
    return LrSensitivity(
        level=level,
        value=value,
        relative=value / l_const if l_const > 0 else math.nan,
        best_loss=float(curve.min()),
        # Not of the curve: beyond its ends it goes on as it was, without a trial.
        best_lr=_at_place(lr, (int(filled[int(means.to_numpy().argmin())]) + 0.5) / LR_BINS)
        if reason is None
        else math.nan,
        num_trials=len(part),
        num_bins=LR_BINS,
        num_filled=len(filled),
        reason=reason,
        curve=tuple(
            (_at_place(lr, (at + 0.5) / LR_BINS), mean_loss, mean_wer)
            for at, mean_loss, mean_wer in zip(filled.tolist(), means.tolist(), both["wer"].tolist(), strict=True)
            if math.isfinite(mean_loss)
        ),
    )


def _at_place(lr: Dimension, place: float) -> float:
    return lr.low * (lr.high / lr.low) ** place if lr.log else lr.low + place * (lr.high - lr.low)


def lr_info(trials: pd.DataFrame, lr: Dimension, panel: Dimension | None, score: Score | None = None) -> LrInfo:
    """Collects one point a trial that has a learning rate, and was not ended where it was as good as stable."""
    num_all, trials = len(trials), with_results(finished(trials), score)
    known = trials[trials[lr.path].notna()] if lr.path in trials else trials.iloc[0:0]
    l_unif = common_value(trials, "l_unif")
    if panel is None:
        panels: tuple[LrPanel, ...] = (LrPanel(None, _points(known, lr, l_unif)),)
    else:
        panels = tuple(LrPanel(v, _points(at_level(known, panel.path, v), lr, l_unif)) for v in levels_of(panel, known))
    return LrInfo(
        lr_name=lr.name,
        log=lr.log,
        panel_name=panel.name if panel else None,
        panels=panels,
        num_foregone=num_all - len(trials),
        l_const=common_value(trials, "l_const"),
        l_unif=l_unif,
        score=score,
    )


def with_results(trials: pd.DataFrame, score: Score | None) -> pd.DataFrame:
    """The trials with what the figures show as their loss and as their WER: of the user's own, their validation loss or
    else their last training loss, and their score as it was reported."""
    if score is None:
        return trials
    loss = trials["val_loss"].astype(float)
    loss = loss.where(loss.notna(), trials["final_train_loss"].astype(float))
    return trials.assign(val_loss=loss, wer=trials["score"].astype(float) * (-1 if score.is_maximized else 1))


def _points(trials: pd.DataFrame, lr: Dimension, l_unif: float) -> tuple[LrPoint, ...]:
    return tuple(_point(row, lr, l_unif) for row in trials.to_dict("records"))


def _point(row: dict[Any, Any], lr: Dimension, l_unif: float) -> LrPoint:
    outcome, val_loss = Outcome(row["verdict"]), finite_or_nan(row["val_loss"])
    too_high = math.isfinite(l_unif) and val_loss > LOST_ABOVE * l_unif
    return LrPoint(
        trial_id=str(row["trial_id"]),
        number=int(row["number"]),
        seed=int(row["seed"]),
        lr=float(row[lr.path]),
        outcome=outcome,
        val_loss=val_loss,
        wer=finite_or_nan(row["wer"]),
        reason=str(plain(row["reason"]) or ""),
        lost=outcome.is_diverged or not math.isfinite(val_loss) or too_high,
    )
