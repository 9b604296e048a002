"""How a training ended, where an alarm may have been wrong.

| the training ...                        | verdict             | stop_step          | audited |
|-----------------------------------------|---------------------|--------------------|---------|
| is stopped at an alarm                  | that of the alarm   | of the alarm       | no      |
| had no alarm                            | that of its end     | None               | no      |
| went on after an alarm and ended stable | that of its end     | of the alarm       | yes     |
| went on after an alarm and ended badly, or lost a weight | that of the alarm | of the alarm | yes |
| went on after one that cannot be wrong, or had one at its last step | that of the alarm | of the alarm | no |
| crashed                                 | crash, or its alarm | the last step, or of the alarm | no |
"""

import dataclasses

from sweep.judging.monitor import StabilityMonitor
from sweep.records import Outcome, Verdict


def may_be_wrong(verdict: Verdict) -> bool:
    """Whether it is an alarm that later steps could undo."""
    return verdict.finding is not None and not verdict.finding.irreversible


def at_end(monitor: StabilityMonitor) -> tuple[Verdict, Outcome | None]:
    """The verdict on a training that reached its end, and what it would have been stopped as if it was audited.

    The verdict's `stop_step` says where that would have been.
    """
    alarm = monitor.finish()
    end = monitor.end_verdict()
    # After an alarm at the very last step nothing is left that could show it to be wrong.
    if not may_be_wrong(alarm) or alarm.stop_step == end.step:
        return alarm, None
    if end.stable:
        wrong = f"stopping at step {alarm.stop_step} as {alarm.outcome} would have been wrong ({alarm.reason})"
        verdict = dataclasses.replace(
            end, reason=f"{end.reason}; {wrong}", stop_step=alarm.stop_step, finding=alarm.finding
        )
    else:
        how = "ended so" if end.outcome is alarm.outcome else f"ended as {end.outcome}"
        verdict = dataclasses.replace(alarm, reason=f"{alarm.reason}; run on, it {how}: {end.reason}")
    return verdict, alarm.outcome


def at_crash(monitor: StabilityMonitor, error: Exception, num_steps: int) -> Verdict:
    """The verdict on a training that an exception ended after so many steps.

    One that went on after an alarm keeps the verdict of that: its end can no longer tell whether it was right.
    """
    verdict = monitor.finish(crash=error)
    if verdict.finding is None:
        return dataclasses.replace(verdict, stop_step=num_steps)
    where = f"run on, it ended with an exception after step {num_steps}: {type(error).__name__}"
    return dataclasses.replace(verdict, reason=f"{verdict.reason}; {where}")
