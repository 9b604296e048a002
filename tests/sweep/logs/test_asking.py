"""What the user asks for by name in a text, and what is said where there is nothing of that name."""

from pathlib import Path

import pytest

from slr_models.errors import UserError
from sweep.logs.choice import ColumnChoice
from sweep.logs.files import read_trace

LOSSES = [round(0.9 - k / 64, 6) for k in range(24)]


def written(path: Path, line: str) -> Path:
    path.write_text("\n".join(line.format(k=k, x=x, y=round(x + 1, 6)) for k, x in enumerate(LOSSES)) + "\n")
    return path


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("learn", "{k}:      learn {x}passed: 17.4 sec      total: 3m {k}s"),
        ("learn", "{k}:\tlearn: {x}\ttest: {y}\ttotal: 3ms"),
        ("energy", "sweep {k} energy={x} tau=3"),
        ("energy", "sweep {k} energy ({x}) tau=3"),
        ("energy", "sweep {k}, energy is tensor({x}, device='cuda:0')"),
        ("free energy", "sweep {k} | free  energy: {x} | energy: {y}"),
        ("E", "k={k} E -> {x} (dE={y})"),
        ("ppl", "| epoch {k} | loss {y} | ppl {x}"),
        ("loss", "epoch {k} loss {x} val loss {y}"),
        ("accuracy", "step {k} accuracy: {x}%"),
    ],
)
def test_the_number_that_follows_a_name(tmp_path, name, line) -> None:
    trace = read_trace(written(tmp_path / "a.log", line), ColumnChoice((name,)))
    assert [record.loss for record in trace.records()] == LOSSES


def test_what_is_no_loss_is_read_with_a_note(tmp_path) -> None:
    path = written(tmp_path / "a.log", "step {k} train acc: {x} loss: {y} acc_loss: {y}")
    notes = {name: read_trace(path, ColumnChoice((name,))).notes for name in ("train acc", "loss", "acc_loss")}
    assert [name for name, told in notes.items() if any("does not look like a loss" in note for note in told)] == [
        "train acc"
    ]


def test_a_text_without_a_loss_says_what_its_numbers_are_called(tmp_path) -> None:
    path = tmp_path / "a.log"
    lines = [f"sweep: {k} energy={x} tau 0.5" + (f" rare: {k}" if k < 2 else "") for k, x in enumerate(LOSSES)]
    lines += [f"energy = {x}" for x in LOSSES]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"name it by --loss NAME, .*; names with numbers are: energy, sweep, tau$"):
        read_trace(path)
    with pytest.raises(UserError, match=r"follows the name tua, as --loss asks for; .* are: energy, sweep, tau$"):
        read_trace(path, ColumnChoice(("tua",)))
    assert [record.loss for record in read_trace(path, ColumnChoice(("energy",))).records()][:24] == LOSSES


@pytest.mark.parametrize("line", ["Epoch[{k}] Time cost={x}", "[{k}] elapsed loss: {x}", "epoch {k} cost: {x} sec"])
def test_a_duration_is_no_loss(tmp_path, line) -> None:
    with pytest.raises(UserError, match="no line with a loss"):
        read_trace(written(tmp_path / "a.log", line))


@pytest.mark.parametrize("line", ["step {k} cost {x} s 3", "step {k} loss: {x} ms: 20", "time 3 s, loss: {x}, s/it 3"])
def test_a_loss_with_a_unit_near_it_is_one(tmp_path, line) -> None:
    assert [record.loss for record in read_trace(written(tmp_path / "a.log", line)).records()] == LOSSES


HEADS = {
    "A3C": "steps,episodes,mean,average_loss_policy,average_loss_value_func,average_loss_entropy",
    "entropy alone": "steps,episodes,mean,policy_loss,xyz,entropy_loss",
    "reward": "steps,episodes,mean,actor_loss,reward,xyz",
    "DQN": "steps,episodes,mean,average_loss,average_q,xyz",
    "SAC": "steps,ep_ret,mean,loss,xyz,abc",
}


@pytest.mark.parametrize("name", HEADS)
def test_losses_of_reinforcement_learning_have_no_level(tmp_path, name) -> None:
    rows = [f"{k},{k},-1576.5,{x},{x + 1},-1.3" for k, x in enumerate(LOSSES)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join([HEADS[name], *rows]) + "\n")
    trace = read_trace(path)
    assert trace.is_adversarial and "+" not in trace.read_as["loss"]


def test_rewards_of_a_text_tell_of_it_too(tmp_path) -> None:
    line = (
        "{k}/500: episode: {k}, episode steps: 7, episode reward: -7.5, mean reward: -4.5 [-9.0, 3.7], "
        "loss: {x}, mean_q: 3"
    )
    trace = read_trace(written(tmp_path / "a.log", line))
    assert trace.is_adversarial and trace.read_as["loss"] == "loss"
    assert [record.loss for record in trace.records()] == LOSSES and trace.steps.tolist() == list(range(24))


def test_a_reward_on_a_line_of_its_own_tells_of_it(tmp_path) -> None:
    line = "| rollout/ | |\n|    ep_rew_mean   | 20{k}  |\n| iterations | {k} |\n| loss     | {x}  |\n-----------"
    trace = read_trace(written(tmp_path / "a.log", line))
    assert trace.is_adversarial and [record.loss for record in trace.records()] == LOSSES


@pytest.mark.parametrize("name", ["rewards/chosen", "reward_margin", "chosen_reward", "reward_accuracy"])
def test_a_loss_of_preferences_has_a_level(tmp_path, name) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"step,loss,{name}\n" + "\n".join(f"{k},{x},0.5" for k, x in enumerate(LOSSES)) + "\n")
    assert not read_trace(path).is_adversarial
