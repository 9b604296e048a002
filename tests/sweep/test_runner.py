"""What Ray's handle on a trial does; real Ray is in test_run.py."""

import math
import time

from slr_models.data import SyntheticConfig
from sweep import runner
from sweep.forensics.settings import ForensicsConfig
from sweep.monitor import MonitorConfig
from sweep.train import TrialConfig
from sweep.trial import Job, RunOptions

DATA = {"kind": "synthetic", "vocabulary_size": 4, "num_train": 16, "num_valid": 4, "max_labels": 3}
HOT = {"optimizer": {"kind": "sgd", "lr": 1e4}, "clip": {"kind": "off"}, "bad_batch": {"kind": "never_skip"}}


def last_reports(tmp_path, deadline: float) -> list[dict]:
    """All that an actor says from the result of a diverging trial on."""
    config = TrialConfig.model_validate(
        {"model": {"kind": "baseline", "width": 0.0625}, "data": DATA, "training": {"batch_size": 4, **HOT}}
    )
    settings = ForensicsConfig(snapshot_every_steps=2, replay_steps=5, repeats=1)
    options = RunOptions(tmp_path, "wer", MonitorConfig(), True, "none", forensics=settings)
    actor = runner._TrialActor.__new__(runner._TrialActor)
    job = Job("0000", 0, 0, 0, "explore", {}, config, 20)
    actor.setup({"job": job}, SyntheticConfig.model_validate(DATA).build(), options, 1, deadline)
    reports = [actor.step()]
    while not reports[-1]["done"]:
        reports.append(actor.step())
    return [report for report in reports if runner.RESULT_KEY in report]


def test_no_explanation_begins_once_the_study_s_time_is_up(tmp_path) -> None:
    late = last_reports(tmp_path / "late", time.time() - 1)
    assert [report["done"] for report in late] == [True]
    assert late[0][runner.RESULT_KEY].verdict.is_diverged
    in_time = last_reports(tmp_path / "in-time", math.inf)
    assert [report["done"] for report in in_time] == [False, True]
