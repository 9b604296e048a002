"""How long the next setting takes: our sampler's fit, candidates and choice, beside Optuna's own model-based samplers.

    python -m benchmarks.speed.suggestion [--trials 50,1000,5000] [--settings 10] [--repeats 9] [--running 1000]

Each sampler is asked `--repeats` times after as many made-up trials as told, and hears what came of each. The first
time is left out: it imports what is needed, and fits what a study that grew would have fitted before. Optuna's GP,
which keeps all trials, is asked twice, of 1,000 trials at most. `--running`: so many more are under way, of which
nothing is known yet, as on a cluster.

And the process alone, fitted to as many rows, beside scikit-learn's with the same kernels: best of three.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import TrialState, create_trial
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from benchmarks.search.peers import be_quiet
from sweep.boundary.process import Process
from sweep.search import StabilitySampler

MOST_OF_GP = 1000
ROWS = (24, 50, 150)
SAMPLERS: dict[str, Callable[[], BaseSampler]] = {
    "StabilitySampler, map": lambda: StabilitySampler(seed=0, mode="map"),
    "StabilitySampler, balanced": lambda: StabilitySampler(seed=0),
    "Optuna TPE": lambda: TPESampler(seed=0, multivariate=True),
    "Optuna GP": lambda: GPSampler(seed=0),
}


def margin(params: dict[str, float]) -> float:
    """Of a made-up training: an edge across the first two settings."""
    first, second = (np.log10(value) / 6 + 1 for value in list(params.values())[:2])
    return float(np.clip(first + 0.3 * second - 0.65, -1, 1))


def grown(
    sampler: BaseSampler, num: int, num_settings: int, running: int = 0
) -> tuple[optuna.Study, dict[str, FloatDistribution]]:
    """A study of so many random trials, and so many more that run."""
    space = {f"x{k}": FloatDistribution(1e-6, 1.0, log=True) for k in range(num_settings)}
    rng = np.random.default_rng(0)
    study = optuna.create_study(sampler=sampler)
    trials = []
    for number in range(num + running):
        params = {name: float(10 ** rng.uniform(-6, 0)) for name in space}
        said = told(params) if number < num else {"state": TrialState.RUNNING}
        trials.append(create_trial(params=params, distributions=space, **said))
    study.add_trials(trials)
    return study, space


def told(params: dict[str, float]) -> dict[str, object]:
    """What is said of a training."""
    distance = margin(params)
    return {"value": 1 + distance, "user_attrs": {"margin": distance}}


def seconds(name: str, num: int, num_settings: int, repeats: int, running: int = 0) -> list[float]:
    """CPU time of each suggestion."""
    study, space = grown(SAMPLERS[name](), num, num_settings, running)
    found = []
    for _ in range(1 + (2 if name == "Optuna GP" else repeats)):
        begun = time.process_time()
        trial = study.ask(space)
        found.append(time.process_time() - begun)
        said = told(trial.params)
        trial.set_user_attr("margin", margin(trial.params))
        study.tell(trial, said["value"])  # type: ignore[arg-type]  # a number
    return found[1:]


def fits(num: int, num_settings: int) -> tuple[float, float]:
    """CPU time of our fit and of scikit-learn's."""
    rng = np.random.default_rng(num)
    features = rng.random((num, num_settings))
    targets = np.tanh(3 * (features[:, 0] + 0.3 * features[:, 1] - 0.65)) + 0.1 * rng.standard_normal(num)

    def theirs() -> object:
        kernel = ConstantKernel(1.0) * Matern(np.full(num_settings, 0.5), nu=2.5) + WhiteKernel(0.2)
        return GaussianProcessRegressor(kernel).fit(features, targets)

    def best(fit: Callable[[], object]) -> float:
        taken = []
        for _ in range(3):
            begun = time.process_time()
            fit()
            taken.append(time.process_time() - begun)
        return min(taken)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return best(lambda: Process(features, targets)), best(theirs)


def lines(nums: list[int], num_settings: int, repeats: int, running: int) -> Iterator[str]:
    """The tables."""
    beside = f", {running:,} running" if running else ""
    yield f"| a suggestion, {num_settings} settings{beside} | " + " | ".join(f"{num:,} trials" for num in nums) + " |"
    yield "|---|" + "---|" * len(nums)
    for name in SAMPLERS:
        cells = []
        for num in nums:
            if name == "Optuna GP" and num > MOST_OF_GP:
                cells.append("-")
                continue
            taken = [1000 * one for one in seconds(name, num, num_settings, repeats, running)]
            cells.append(f"{np.median(taken):.0f} ms, at most {max(taken):.0f}")
        yield f"| {name} | " + " | ".join(cells) + " |"
    yield ""
    yield f"| fit of a process, {num_settings} features | " + " | ".join(f"{num} rows" for num in ROWS) + " |"
    yield "|---|" + "---|" * len(ROWS)
    cells = []
    for num in ROWS:
        ours, theirs = fits(num, num_settings)
        cells.append(f"{1000 * ours:.1f} ms, {1000 * theirs:.0f} ms: 1 / {theirs / ours:.0f}")
    yield "| ours, scikit-learn's | " + " | ".join(cells) + " |"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", default="50,1000,5000")
    parser.add_argument("--settings", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--running", type=int, default=0)
    options = parser.parse_args()
    be_quiet()
    nums = [int(num) for num in options.trials.split(",")]
    for line in lines(nums, options.settings, options.repeats, options.running):
        print(line, flush=True)


if __name__ == "__main__":
    main()
