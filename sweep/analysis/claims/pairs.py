"""Trials of a paired design -> one effect a block, over the complete blocks.

A block trains one drawn setting with one seed under every cell, so what the levels have in common cancels within it.
A claim looks at some columns of it (the levels of its factor, or of two factors), each the mean of the block's cells at
those levels, and at one contrast of the columns: the block's effect.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from slr_models.errors import ResultsError
from sweep.analysis.claims.named import level_text
from sweep.analysis.claims.responses import NOT_JUDGED, QUALITY, Evals, censored, of_failed, response
from sweep.analysis.trials.outcomes import OPEN_ENDS
from sweep.records import Phase
from sweep.study.claim import LR_PATH, Claim
from sweep.study.design import Paired
from sweep.study.settings import Study

Floats = npt.NDArray[np.float64]

FRACTIONS = {"full": 1, "half": 2, "quarter": 4}


@dataclass(frozen=True)
class Pairs:
    """The complete blocks of a claim: what was measured at each of its levels."""

    blocks: npt.NDArray[np.int64]
    """Numbers of the blocks, [N], increasing."""
    values: Floats
    """The response, [N, C], a column for each of `labels`, in the response's unit. For edge_lr the middle of the two
    rungs, or the outermost rung where the edge lies beyond it."""
    labels: tuple[str, ...]
    """Of the columns. Difference and ratio: reference, other. Slope: all levels. Mean: the one level. Interaction: the
    levels at the reference of `by`, then those at its other level."""
    censored: npt.NDArray[np.bool_]
    """Whether a value only says "at least" (or, for an edge below all rungs, "at most"), [N, C]."""
    effects: Floats
    """The contrast of each block, [N]; of the logarithms for a ratio."""
    weights: Floats
    """The contrast: effects = f(values) @ weights, [C], with f the logarithm for a ratio."""
    cells: int
    """Trainings of a block behind each column."""
    low: Floats
    """For edge_lr what is known of each value, [N, C]: it lies in (low, high], with infinite ends; else `values`."""
    high: Floats
    left_out: int = 0
    """Blocks that are finished, but left out: a training crashed, or its response is unknown."""
    crashed: int = 0
    """Of those, the ones with a crash."""
    undefined: int = 0
    """Of those, the ones where a ratio has no meaning: a value was 0."""
    barren: int = 0
    """Blocks of `blocks` in which no training was stable; counted for the responses of quality alone."""
    identical: int = 0
    """Blocks of `blocks` in which the levels gave the very same training; counted likewise."""
    failed: npt.NDArray[np.bool_] | None = None
    """Whether a training behind a value was not stable, [N, C]; None where that does not matter."""
    cost_of_failure: float = math.nan
    """How far a failed level moves a block's effect, at most; NaN where `failed` is None."""

    @property
    def reference(self) -> Floats:
        """The first column, [N]."""
        return self.values[:, 0]

    @property
    def other(self) -> Floats:
        """The last column, [N]."""
        return self.values[:, -1]

    def __len__(self) -> int:
        return len(self.blocks)


def num_finished(trials: pd.DataFrame, design: Paired) -> int:
    """How many leading blocks are finished: every cell has a row, whatever came of it."""
    rows = _designed(trials)
    counts = rows.groupby("block")["cell"].nunique()
    cells = num_cells(design)
    num = 0
    while counts.get(num, 0) >= cells:
        num += 1
    return num


def num_cells(design: Paired) -> int:
    """Trainings of a block."""
    levels = [len(factor) for factor in design.factors.values()]
    return int(np.prod(levels)) // FRACTIONS[design.fraction]


def pairs(trials: pd.DataFrame, claim: Claim, study: Study, evals: Evals, blocks: int | None = None) -> Pairs:
    """What the leading blocks say of a claim.

    Args:
        trials: as `store.read_trials` gives them, with the columns block and cell.
        claim: an entry of the study's claims, without gaps.
        study: of the results folder.
        evals: gives the evaluations of a trial.
        blocks: how many leading blocks are looked at; None for all finished ones.

    Raises:
        ResultsError: study.yaml names levels or a response that this version does not know.
    """
    design = study.design
    assert design is not None, "claims are of a design"
    finished = num_finished(trials, design)
    within = range(finished if blocks is None else min(blocks, finished))
    rows = _within(trials, within)
    levels = rows["cell"].map(_parse)
    masks = _masks(levels, claim)
    looked_at = pd.Series(np.any(masks, axis=0), index=rows.index)
    crashed = set(rows["block"][rows["verdict"].isin(NOT_JUDGED) & looked_at].astype(int))
    is_slope = claim.effect == "slope"
    labels = tuple(
        " ".join(v if is_slope else level_text(k, v) for k, v in column.items()) for column in columns(claim)
    )
    weights = contrast(claim, design)
    if claim.response == "edge_lr":
        return _edge_pairs(rows, levels, masks, design, within, labels, weights, crashed)
    ratio = claim.effect == "ratio"
    measured = response(rows, evals, claim, study)
    at_limit = censored(rows, measured, claim.response)
    found, limits = [], []
    for mask in masks:
        found.append((np.log(measured.where(measured > 0)) if ratio else measured)[mask].groupby(rows["block"][mask]))
        limits.append(at_limit[mask].groupby(rows["block"][mask]))
    index = pd.Index(within)
    # A block's mean is known only if every one of its cells is: skipna would compare different cells.
    table = np.column_stack([g.agg(lambda v: v.mean(skipna=False)).reindex(index).to_numpy(float) for g in found])
    limited = np.column_stack([g.all().reindex(index, fill_value=False).to_numpy(bool) for g in limits])
    cells = max((int(g.size().max()) for g in found if len(g)), default=1)
    complete = np.isfinite(table).all(axis=1)
    out = set(np.flatnonzero(~complete).tolist())
    values = table[complete]
    shown = np.exp(values) if ratio else values
    used = np.flatnonzero(complete).astype(np.int64)
    failed, cost, barren, identical = None, math.nan, 0, 0
    if claim.response in QUALITY:
        good = rows["stable"].astype(bool)
        failed = np.column_stack([~good[mask].groupby(rows["block"][mask]).all().reindex(used) for mask in masks])
        worst = of_failed(rows, claim.response, study)[rows["block"].isin(used)]
        worst = np.log(worst) if ratio else worst
        means = np.array([worst[mask[worst.index]].mean() for mask in masks])
        cost = float(np.max(np.abs(weights * (means - values.mean(axis=0))))) if len(used) else math.nan
        barren = int((~good[looked_at].groupby(rows["block"][looked_at]).any().reindex(used)).sum())
        compared = looked_at & rows["block"].isin(used)
        identical = _num_identical(rows[compared], _rest(levels[compared], (claim.factor,)))
    zero = set(rows["block"][(measured <= 0) & looked_at].astype(int)) if ratio else set()
    return Pairs(
        blocks=used,
        values=shown,
        labels=labels,
        censored=limited[complete],
        effects=values @ weights,
        weights=weights,
        cells=cells,
        low=shown,
        high=shown,
        left_out=len(out),
        crashed=len(out & crashed),
        undefined=len((out & zero) - crashed),
        barren=barren,
        identical=identical,
        failed=failed,
        cost_of_failure=cost,
    )


def _num_identical(rows: pd.DataFrame, rest: pd.Series) -> int:
    """Blocks in which trainings with the same `rest` had the same losses to the last bit: the factor never acted."""
    if rows.empty:
        return 0
    losses = rows[["final_train_loss", "val_loss"]].astype(float).groupby([rows["block"], rest])
    same = ((losses.nunique() == 1) & (losses.count().eq(losses.size(), axis=0)) & (losses.count() > 1)).all(axis=1)
    return int(same.groupby(level=0).all().sum())


def behind(trials: pd.DataFrame, claim: Claim, blocks: Sequence[int]) -> list[pd.DataFrame]:
    """The trainings behind each column of `Pairs`, of some blocks; arguments as in `pairs`."""
    rows = _within(trials, blocks)
    return [rows[mask] for mask in _masks(rows["cell"].map(_parse), claim)]


def columns(claim: Claim) -> list[dict[str, str]]:
    """The levels behind each column: factor -> level."""
    factor, levels = claim.factor, [str(level) for level in claim.levels]
    if claim.effect == "mean":
        return [{factor: levels[0]}]
    if not claim.by:
        return [{factor: level} for level in levels]
    by = claim.by
    return [{by: str(other), factor: level} for other in claim.by_levels for level in levels]


def contrast(claim: Claim, design: Paired) -> Floats:
    """The weights of the columns, [C]: their weighted sum is the effect of a block."""
    chosen = columns(claim)
    if claim.effect == "mean":
        return np.ones(1)
    if claim.effect == "slope":
        known = design.factors[claim.factor]
        x = np.log2([_level_number(label[claim.factor], known) for label in chosen])
        centered = x - x.mean()
        return np.asarray(centered / (centered @ centered), dtype=np.float64)
    return np.array([-1.0, 1.0] if len(chosen) == 2 else [1.0, -1.0, -1.0, 1.0])


def _within(trials: pd.DataFrame, blocks: Sequence[int]) -> pd.DataFrame:
    """The design's trainings in some blocks, each cell once."""
    rows = _designed(trials)
    return rows[rows["block"].isin(blocks)].drop_duplicates(["block", "cell"], keep="last")


def _designed(trials: pd.DataFrame) -> pd.DataFrame:
    """The trainings that the design asked for."""
    rows = trials[(trials["phase"] == Phase.EXPLORE) & trials["block"].notna() & trials["cell"].notna()]
    return rows.assign(block=rows["block"].astype(int))


def _edge_pairs(
    rows: pd.DataFrame,
    levels: pd.Series,
    masks: Sequence[pd.Series],
    design: Paired,
    within: range,
    labels: tuple[str, ...],
    weights: Floats,
    crashed: set[int],
) -> Pairs:
    """Edges along the learning rate: of each slice of a block, then averaged over the slices of a column."""
    lr_factors = [name for name, levels in design.factors.items() if all(LR_PATH in s for s in levels.values())]
    if not lr_factors:
        raise ResultsError(f"study.yaml has a claim on edge_lr, but no factor of its design sets {LR_PATH}")
    slices = _rest(levels, lr_factors)
    judged = ~rows["verdict"].isin((*NOT_JUDGED, *OPEN_ENDS))
    ends = np.full((len(within), len(masks), 2), np.nan)
    cells = 1
    for column, mask in enumerate(masks):
        of_block: dict[int, list[tuple[float, float]]] = {}
        for _, part in rows[mask].groupby([rows["block"][mask], slices[mask]]):
            whole = bool(judged[part.index].all())
            edge = edge_between(part[LR_PATH].to_numpy(float), part["stable"].to_numpy(bool))
            of_block.setdefault(int(part["block"].iloc[0]), []).append(edge if whole else (np.nan, np.nan))
        for block, edges in of_block.items():
            ends[block, column] = np.mean(edges, axis=0)
            cells = max(cells, len(edges))
    complete = ~np.isnan(ends).any(axis=(1, 2))
    low, high = ends[complete, :, 0], ends[complete, :, 1]
    open_ = ~np.isfinite(low) | ~np.isfinite(high)
    with np.errstate(invalid="ignore"):
        middle = np.where(np.isfinite(low), np.where(np.isfinite(high), (low + high) / 2, low), high)
    out = set(np.flatnonzero(~complete).tolist())
    return Pairs(
        blocks=np.flatnonzero(complete).astype(np.int64),
        values=middle,
        labels=labels,
        censored=open_,
        effects=middle @ weights,
        weights=weights,
        cells=cells,
        low=low,
        high=high,
        left_out=len(out),
        crashed=len(out & crashed),
    )


def edge_between(rates: Floats, stable: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Where the edge of stability lies along some learning rates, as log10 of (highest stable, next higher rung).

    A failure below the highest stable rung is none of the edge: learning rates can be too low, and seeds scatter.
    The upper end is inf if the highest rung is stable; the lower end is -inf if no rung is.
    """
    order = np.argsort(rates)
    rungs, good = np.log10(rates[order]), stable[order]
    if not good.any():
        return -np.inf, float(rungs[0])
    top = int(np.flatnonzero(good)[-1])
    return float(rungs[top]), float(rungs[top + 1]) if top + 1 < len(rungs) else np.inf


def _parse(cell: str) -> dict[str, str]:
    """`model=teacher, precision=fp16` -> factor -> level."""
    return dict(part.split("=", 1) for part in cell.split(", "))


def _rest(levels: pd.Series, factors: Sequence[str]) -> pd.Series:
    """The levels of all other factors, a tuple a trial."""
    return levels.map(lambda cell: tuple(v for k, v in cell.items() if k not in factors))


def _masks(levels: pd.Series, claim: Claim) -> list[pd.Series]:
    """Which trials stand behind each column."""
    return [_at(levels, {**claim.where, **column}) for column in columns(claim)]


def _at(levels: pd.Series, wanted: Mapping[str, Any]) -> pd.Series:
    """Which trials have the wanted levels."""
    pairs_ = {(str(k), str(v)) for k, v in wanted.items()}
    return levels.map(lambda cell: pairs_ <= set(cell.items())).astype(bool)


def _level_number(level: str, known: Mapping[str, Mapping[str, Any]]) -> float:
    """The number that a level stands for: the only one that it sets."""
    numbers = [v for v in known[level].values() if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) != 1 or numbers[0] <= 0:
        raise ResultsError(f"study.yaml has a slope over the level {level!r}, which stands for no positive number")
    return float(numbers[0])
