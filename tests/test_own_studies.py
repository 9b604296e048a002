"""The examples of trainings that are the user's own: each loads, and a training of it runs and is judged."""

from pathlib import Path

import numpy as np
import pytest

from slr_models.errors import SettingError, UserError
from sweep.records import Outcome, TrialResult
from sweep.run.function import function_study
from sweep.running.job import Progress, RunOptions
from sweep.running.own_study import own_program
from sweep.running.session import StudySession
from sweep.running.trial import TrialRunner
from sweep.study import LoadedStudy, load

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "studies" / "own").glob("*.yaml"))
NEEDS = {"huggingface": "transformers", "lightning_digits": "lightning"}


def first(loaded: LoadedStudy, folder: Path, function=None) -> TrialResult:
    """The result of the first training of a study, in this process."""
    study = loaded.study
    own = own_program(loaded, function)
    options = RunOptions(folder, study.metric, study.monitor, study.early_stop, study.checkpoints, own=own)
    with StudySession(loaded, folder, 0) as session:
        trial = TrialRunner(None, options).start(session.next_job())
        while isinstance(reached := trial.advance(), Progress):
            pass
        session.tell(reached)
    return reached


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_it_loads_as_it_stands(path: Path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    study = load(path).study
    assert study.name == f"own_{path.stem}", "the results folder is found by the file's name"
    assert study.description and study.is_own and study.model is None


@pytest.mark.slow
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_its_trainings_run_and_are_judged(path: Path, tmp_path: Path, monkeypatch) -> None:
    if path.stem in NEEDS:
        pytest.importorskip(NEEDS[path.stem], reason="the extra `integrations` is not installed")
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(path.parent))
    low = {"lr": 1e-3, "step_size": 0.1}
    loaded = load(path)
    path_of_rate = next(name for name in loaded.study.space if name in low)
    fixed = f"search={{kind: random, try_first: [{{{path_of_rate}: {low[path_of_rate]}}}]}}"
    result = first(load(path, [fixed]), tmp_path)
    assert result.verdict not in (Outcome.CRASHED, Outcome.UNJUDGED), result.reason
    assert result.num_steps > 20 and (not result.stable or result.score == result.score)


def test_a_function_given_in_python_is_the_same_study_as_one_in_a_file(tmp_path) -> None:
    import sweep

    def train(config, run):
        for step in range(60):
            run.step(loss=2.0 * (1 - config["optimizer"]["lr"]) ** step)
        return {"accuracy": config["width"] / 10}

    study = function_study(
        train,
        space={"optimizer.lr": sweep.loguniform(1e-3, 0.5), "width": [2, 4, 8], "norm": ["layer", "batch"]},
        name="mine",
        trials=4,
        objective={"maximize": "accuracy"},
        config={"optimizer": {"kind": "sgd"}},
        search="random",
        seed=3,
        results=tmp_path,
    )
    found = study.loaded.study
    assert [type(one).__name__ for one in found.space.values()] == ["LogUniform", "Grid", "Choice"]
    assert found.budget.trials == 4 and found.budget.steps is None and found.search.kind == "random"
    result = first(study.loaded, tmp_path / "mine", train)
    assert result.score in (-0.2, -0.4, -0.8) and result.settings.keys() == {"optimizer.lr", "width", "norm"}


def test_a_study_is_a_package_before_and_after_the_function_was_used() -> None:
    import sweep
    import sweep.study

    before = sweep.study
    assert sweep.function_study is function_study and sweep.study is before and sweep.study.load is load


def test_values_of_numpy_are_taken_and_what_no_file_holds_is_named(tmp_path) -> None:
    import sweep

    def train(config, run) -> None: ...

    def made(**more):
        return function_study(train, **{"name": "mine", "space": {"lr": [0.1, 0.2]}, "results": tmp_path} | more)

    study = made(space={"lr": np.logspace(-3, -1, 3)}, config={"sizes": np.arange(3), "rate": np.float32(0.5)})
    assert study.loaded.study.space["lr"].grid == pytest.approx((1e-3, 1e-2, 1e-1))
    assert study.loaded.study.trial.config == {"sizes": [0, 1, 2], "rate": 0.5}
    for more, said in (
        ({"budget": 40}, "budget is 40; give a dict"),
        ({"space": ["lr"]}, r"space is \['lr'\]; give a dict"),
        ({"space": None}, "space is None; give a dict"),
        ({"results": None}, "results is None; give the folder"),
        ({"config": {"model": {"act": train}}}, r"trial.config.model.act is <function .*>, which no study file can"),
        ({"config": {"names": {"a", "b"}}}, "trial.config.names is {.*}, which no study file can hold"),
    ):
        with pytest.raises(UserError, match=said):
            made(**more)
    for make, said in (
        (lambda: sweep.loguniform(1, 1e-5), r"sweep.loguniform: the lowest value must be below the highest, got \[1.0"),
        (lambda: sweep.loguniform(0, 1), "sweep.loguniform: a logarithmic axis has no zero"),
        (lambda: sweep.uniform("a", 1), "sweep.uniform: Input should be a valid number, got 'a'"),
        (lambda: sweep.integer(3, 1), "sweep.integer: the lowest value must be below the highest"),
    ):
        with pytest.raises(SettingError, match=said):
            make()
