"""Which searched settings matter for the result and for stability, by Optuna's own estimates."""

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import optuna
from optuna.importance import BaseImportanceEvaluator, FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

MIN_SETTINGS = 12
"""With fewer finished settings both estimates are noise."""
NUM_TREES, TREE_DEPTH = 32, 6
"""Of fANOVA's random forest. Optuna's own defaults of 64 and 64 take minutes for a thousand settings."""
TREES_OF_RESAMPLE = 8
"""A quarter of the time of all trees. Ranges come out 11 % (24 settings) to 22 % (100) wider than with all: a small
forest differs a little by itself."""
NUM_BEST = 6
"""PED-ANOVA compares at least so many of the best settings with all of them."""
NUM_RESAMPLES = 24
"""Each takes a quarter of the time of the estimate itself, which is 0.2 s for 40 settings and 0.6 s for 1,000."""
BEST_SHARE = 0.1
"""And at least this share of the settings, Optuna's own default."""


def importances(study: optuna.Study) -> dict[str, dict[str, float]]:
    """Shares of importance that sum to 1, by method and then by dotted path.

    | key         | method                                  | what of                                                 |
    |-------------|-----------------------------------------|---------------------------------------------------------|
    | `fanova`    | functional analysis of variance         | the objective over the whole space                      |
    | `ped_anova` | Pearson divergence of the best settings | reaching the best tenth of objectives (6 or more)       |
    | `margin`    | functional analysis of variance         | the user attribute `margin`: how far from the boundary  |

    With `_low` and `_high` behind the method's name, the ends of the range that nine of ten resamples of the settings
    give. A method is left out where it cannot say anything: fewer than 12 finished settings, fewer than two dimensions
    that vary, or nothing that tells the dimensions apart. fANOVA leaves a conditional dimension out, since most
    settings lack it; of several objectives the first one counts. Pruned settings are left out, but those with a margin
    count for that.

    Source: Hutter, Hoos, Leyton-Brown, ICML 2014 (fANOVA); Watanabe, Bansal, Hutter, IJCAI 2023 (PED-ANOVA).
    """
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    trials = [t for t in ended if t.state == TrialState.COMPLETE or "margin" in t.user_attrs]
    if sum(t.state == TrialState.COMPLETE for t in trials) < MIN_SETTINGS:
        return {}
    found = _estimates(trials, NUM_TREES)
    if not found:
        return {}
    rng = np.random.default_rng(0)
    resamples = (rng.integers(0, len(trials), len(trials)) for _ in range(NUM_RESAMPLES))
    drawn = [_estimates([trials[i] for i in rows], TREES_OF_RESAMPLE) for rows in resamples]
    for method, shares in list(found.items()):
        again = [one[method] for one in drawn if method in one]
        ranges = {path: _range([one.get(path, 0.0) for one in again], share) for path, share in shares.items()}
        found[f"{method}_low"] = {path: low for path, (low, _) in ranges.items()}
        found[f"{method}_high"] = {path: high for path, (_, high) in ranges.items()}
    return found


def _range(again: Sequence[float], share: float) -> tuple[float, float]:
    """Low and high end of nine of ten resampled shares and of the share itself."""
    low, high = np.quantile(again, (0.05, 0.95)).tolist() if again else (share, share)
    return min(low, share), max(high, share)


def _estimates(trials: Sequence[FrozenTrial], num_trees: int) -> dict[str, dict[str, float]]:
    judged, ended = optuna.create_study(), optuna.create_study()
    judged.add_trials([_single(trial) for trial in trials if trial.state == TrialState.COMPLETE])
    ended.add_trials([_single(trial) for trial in trials])
    best = min(1.0, max(BEST_SHARE, NUM_BEST / len(trials)))
    fanova = FanovaImportanceEvaluator(n_trees=num_trees, max_depth=TREE_DEPTH, seed=0)
    found = {
        "fanova": _shares(judged, fanova, _objective),
        "ped_anova": _shares(judged, PedAnovaImportanceEvaluator(target_quantile=best), None),
        "margin": _shares(ended, fanova, _margin),
    }
    return {method: shares for method, shares in found.items() if shares}


def _single(trial: FrozenTrial) -> FrozenTrial:
    """The trial with its first objective alone."""
    return optuna.trial.create_trial(
        value=trial.values[0] if trial.values else 0.0,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={"margin": trial.user_attrs.get("margin", math.nan)},
    )


def _objective(trial: FrozenTrial) -> float:
    assert trial.value is not None, "a finished setting has a value"
    return trial.value


def _margin(trial: FrozenTrial) -> float:
    return float(trial.user_attrs["margin"])


def _shares(
    study: optuna.Study, evaluator: BaseImportanceEvaluator, target: Callable[[FrozenTrial], float] | None
) -> dict[str, float]:
    """Shares by dotted path; empty where the method cannot tell the dimensions apart."""
    measure = target or _objective
    values = {measure(trial) for trial in study.get_trials(deepcopy=False)}
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return {}
    try:
        with warnings.catch_warnings():
            # Optuna warns where it has little to go on; that case is the check of equal shares below.
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(study, evaluator=evaluator, target=target)
    except RuntimeError:
        # fANOVA's way to say that no dimension explains any difference.
        return {}
    shares = {path: float(share) for path, share in found.items()}
    known = list(shares.values())
    if len(known) < 2 or not all(map(math.isfinite, known)) or math.isclose(min(known), max(known), abs_tol=1e-9):
        return {}
    return shares
