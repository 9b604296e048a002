"""What replays of a failed training with one thing changed showed, in words."""

from dataclasses import dataclass

from sweep.records import Counterfactual, Explanation


@dataclass(frozen=True)
class ReplayRow:
    """What a replay with one thing changed showed."""

    change: str
    rescued: str
    rescues: bool
    end_loss: float
    """Nats a label."""
    remark: str


def replay_rows(explanation: Explanation) -> tuple[ReplayRow, ...]:
    """One row a change, in the order in which they were tried."""
    return tuple(_replay(one) for one in explanation.counterfactuals)


def how_replayed(explanation: Explanation) -> str:
    """How the replays were made; empty where there were none."""
    if not explanation.counterfactuals:
        return ""
    since = explanation.snapshot_step
    start = "" if since is None else f" from the {'initial model' if since == 0 else f'state after step {since}'}"
    return (
        f"Replayed{start} with one thing changed at a time, {explanation.num_replayed_steps} steps in all. The "
        "first replay of each change takes the same batches, any other the data in another order."
    )


def _replay(replay: Counterfactual) -> ReplayRow:
    return ReplayRow(
        change="nothing (same again)" if replay.change == "same" else replay.change,
        rescued=f"{replay.num_rescued} of {replay.num_repeats}",
        rescues=replay.rescues,
        end_loss=replay.end_loss,
        remark=_replay_remark(replay),
    )


def _replay_remark(replay: Counterfactual) -> str:
    change, rescues = replay.change, replay.rescues
    if change == "same":
        return "It does not fail again: chance has a part." if rescues else "It fails again: the replay can be trusted."
    if replay.num_rescued and not rescues:
        return "It helps now and then, not reliably."
    if change in ("fp32", "bf16"):
        return "A wider format is enough." if rescues else "It fails in a wider format too."
    if change.startswith("LR"):
        size = "larger" if change.startswith("LR x") else "smaller"
        return f"A {size} learning rate is enough." if rescues else f"A learning rate so much {size} is not enough."
    return "This alone is enough." if rescues else "This alone does not help."
