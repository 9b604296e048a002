"""Which columns of a log are taken for what: by their names, by how much they hold, or as the user says."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from slr_models.errors import UserError
from sweep.logs.columns import Meaning, is_reward, meaning_of, normal_form
from sweep.logs.raw import NumberCells, RawLog, filled

MAX_NAMES_SHOWN = 20
_ENOUGH = 1 / 3
"""Of the rows of the fullest loss: a loss with fewer is something else, such as the mean of an epoch."""
_MANY, _FEW = 10, 2
"""Where one loss of a text has that many values, another with so few is a message, an option or a line of a program."""
RUN_NAMES = frozenset(
    "run run_id run_name runid trial trial_id experiment experiment_name exp exp_name seed fold".split()
)
"""Columns that tell several runs apart."""
SET_NAMES = frozenset("mode phase split subset set stage dataset data_split partition".split())
"""Columns that tell the training's rows from those of held-out data."""
_NO_LOSSES = frozenset(
    "acc accuracy f1 bleu wer cer auc map iou miou precision recall score reward psnr ssim rouge top1 top5 lr".split()
)
"""Words of a name that is taken for no loss, though the user may call it one."""
_OPTIONS = {"loss": "--loss", "grad_norm": "--norm", "loss_scale": "--scale", "step": "--step"}
"""Field -> the option that names its column."""


@dataclass(frozen=True)
class ColumnChoice:
    """What the user says of a log's columns; what is left out is found by itself."""

    loss: tuple[str, ...] = ()
    """The training loss; several are summed."""
    norm: str | None = None
    """The gradient norm."""
    scale: str | None = None
    """The loss scale."""
    step: str | None = None
    """The number of the step."""
    run: str | None = None
    """Which run, where the file holds several."""

    def wants(self, name: str) -> bool:
        """Whether a column of this name may be needed."""
        normal = normal_form(name)
        return meaning_of(name) is not None or normal in RUN_NAMES or normal in SET_NAMES or self.names(name)

    def names(self, name: str) -> bool:
        """Whether the user names a column of this name."""
        return normal_form(name) in self._keys

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """The names that the user gives, each once."""
        names = [*self.loss, *(part.strip() for name in self.loss for part in name.split(","))]
        return tuple(dict.fromkeys(name for name in (*names, self.norm, self.scale, self.step) if name))

    @cached_property
    def _keys(self) -> frozenset[str]:
        return frozenset(normal_form(_numbered(name)) for name in self.asked)


@dataclass
class Chosen:
    """The columns of a log, by what they are taken for."""

    losses: list[str] = field(default_factory=list)
    """One, or several that are summed."""
    is_adversarial: bool = False
    """Whether the log has several losses that work against each other, of which none is the loss."""
    is_held_out: bool = False
    """Whether the loss is a validation loss, for want of another."""
    validation: list[str] = field(default_factory=list)
    """One, or several that are summed."""
    columns: dict[str, str] = field(default_factory=dict)
    """Field -> its column, for all fields but the losses and the step."""
    counters: list[str] = field(default_factory=list)
    """What may number the steps, best name first."""
    notes: list[str] = field(default_factory=list)


class Chooser:
    """Chooses the columns of one log; `name` stands for its file in messages."""

    def __init__(self, raw: RawLog, choice: ColumnChoice, name: str) -> None:
        self._raw, self._choice, self._name = raw, choice, name
        self._counts = {column: int(filled(cells).sum()) for column, cells in raw.columns.items()}
        self._meanings: dict[str, Meaning] = {}
        for column in raw.columns:
            if (meaning := meaning_of(column)) is not None:
                self._meanings[column] = meaning

    def choose(self) -> Chosen:
        """What the columns are.

        Raises:
            UserError: there is no loss (and, in a text, no gradient norm), or an option names no column.
        """
        chosen = Chosen()
        for option in ("grad_norm", "loss_scale", "applied", "skipped", "skip_reason", "lr", "blank_rate",
                       "input_dependence", "params_finite", "num_infeasible", "epoch"):  # fmt: skip
            if (column := self._one(option)) is not None:
                chosen.columns[option] = column
        chosen.counters = [self._named(self._choice.step, "step")] if self._choice.step else self._ranked("step")
        self._choose_loss(chosen)
        self._choose_validation(chosen)
        self._note_means(chosen)
        said = self._raw.said
        if not chosen.losses and (self._raw.is_table or not ({"grad_norm", "loss"} & {*chosen.columns, *said})):
            raise self._no_loss()
        return chosen

    def _note_means(self, chosen: Chosen) -> None:
        """Says of means of epochs what makes them NaN beside finite batches."""
        for loss in chosen.losses if self._raw.is_text else ():
            for column, cells in self._raw.columns.items():
                if normal_form(column) == f"average_{normal_form(loss)}" and isinstance(cells, NumberCells):
                    num_nan = int((cells.logged & np.isnan(cells.values)).sum())
                    if num_nan:
                        chosen.notes.append(
                            f"{num_nan} means of epochs ({column}) are NaN and do not count: so MXNet prints the mean "
                            f"of no batch, after it printed that of the last batches"
                        )

    def _one(self, option: str) -> str | None:
        """The column of a field other than a loss or the step."""
        given = {"grad_norm": self._choice.norm, "loss_scale": self._choice.scale}.get(option)
        if given is not None:
            return self._named(given, option)
        ranked = [column for column in self._ranked(option) if self._counts[column]]
        if self._raw.is_text:
            ranked = self._without_rare(ranked)
        return ranked[0] if ranked else None

    def _ranked(self, option: str) -> list[str]:
        found = [(meaning.rank, column) for column, meaning in self._meanings.items() if meaning.field == option]
        return [column for _, column in sorted(found)]

    def _without_rare(self, columns: Sequence[str]) -> list[str]:
        """Of a text's columns those that are no single message beside the many rows of a loss."""
        losses = [self._counts[c] for c, m in self._meanings.items() if m.field in ("loss", "val_loss")]
        most = max([*losses, *(self._counts[column] for column in columns)], default=0)
        return [column for column in columns if most < _MANY or self._counts[column] > _FEW]

    def _named(self, name: str, option: str) -> str:
        """The column that the user names.

        Raises:
            UserError: there is none.
        """
        for spelled in (name, _numbered(name)):
            if spelled in self._raw.columns:
                return spelled
            for column in self._raw.columns:
                if normal_form(column) == normal_form(spelled):
                    return column
        if self._raw.is_text:
            raise UserError(
                f"{self._name} has no number that follows the name {name}, as {_OPTIONS[option]} asks for"
                f"{self._names_that_occur() or '; no name has numbers on several lines'}"
            )
        shown = _shown(self._raw.names)
        raise UserError(f"{self._name} has no column {name} for {_OPTIONS[option]}; its columns are: {shown}")

    def _names_that_occur(self) -> str:
        """For a message: what numbers of a text are called, most frequent first."""
        names = list(dict.fromkeys([*self._raw.candidates, *self._raw.names]))
        return f"; names with numbers are: {_shown(names)}" if names else ""

    def _choose_loss(self, chosen: Chosen) -> None:
        if self._choice.loss:
            whole = [name for name in self._choice.loss if self._has(name)]
            names = [
                part.strip() for name in self._choice.loss for part in ([name] if name in whole else name.split(","))
            ]
            chosen.losses = list(dict.fromkeys(self._named(name, "loss") for name in names if name))
            if not chosen.losses:
                raise UserError("--loss names no column; give one, such as --loss train_loss")
            if len(chosen.losses) > 1:
                chosen.notes.append(f"the loss is the sum of {_listed(chosen.losses)}, as --loss says")
            for name in chosen.losses:
                if not (_NO_LOSSES.isdisjoint(normal_form(name).split("_")) or "loss" in normal_form(name)):
                    chosen.notes.append(
                        f"{name}, which --loss names, does not look like a loss: the rules take what falls for better"
                    )
            return
        ranked = self._ranked("loss")
        found = [column for column in ranked if self._counts[column]]
        if self._raw.is_text:
            found = self._without_rare(found)
        if not found:
            self._without_training_loss(chosen, ranked)
            return
        wholes = [column for column in found if self._meanings[column].is_whole]
        if wholes and (not self._raw.is_text or _enough(self._counts, wholes, found)):
            chosen.losses = [self._fullest(wholes)]
            left = [column for column in found if column not in chosen.losses]
            if left:
                chosen.notes.append(f"the loss is {chosen.losses[0]}, not {_listed(left)} (--loss overrules it)")
            self._look_for_rewards(chosen, left)
            return
        self._choose_parts(chosen, [column for column in found if not self._meanings[column].is_whole])

    def _look_for_rewards(self, chosen: Chosen, others: Sequence[str]) -> None:
        """Notes where the loss is that of reinforcement learning, whose level says nothing."""
        beside = self._signs_of_rewards(others)
        if beside:
            chosen.is_adversarial = True
            chosen.notes.append(
                f"beside {_listed(beside)}, {chosen.losses[0]} is the objective of reinforcement learning: its level "
                f"tells nothing, so only the numbers are judged (--loss {chosen.losses[0]} judges it all the same)"
            )

    def _signs_of_rewards(self, losses: Sequence[str]) -> list[str]:
        """Rewards, or losses of a policy and of values or of an entropy; empty where nothing is reinforced."""
        if rewards := [name for name in self._raw.names if is_reward(name)]:
            return rewards
        roles = {column: self._meanings[column].role for column in losses}
        for column in losses:
            if self._meanings[column].part == "entropy":
                roles[column] = "entropy"
        has_both = "actor" in roles.values() and not {"critic", "entropy"}.isdisjoint(roles.values())
        return [column for column, role in roles.items() if role] if has_both else []

    def _has(self, name: str) -> bool:
        return any(normal_form(name) == normal_form(column) for column in self._raw.columns)

    def _fullest(self, columns: Sequence[str]) -> str:
        """The best name among those that hold about as much as any."""
        most = max(self._counts[column] for column in columns)
        return next(column for column in columns if self._counts[column] >= _ENOUGH * most)

    def _choose_parts(self, chosen: Chosen, parts: list[str]) -> None:
        """Of losses that are none as a whole."""
        roles = {column: self._meanings[column].role for column in parts if self._meanings[column].role}
        if {"generator", "discriminator"} <= set(roles.values()) or {"actor", "critic"} <= set(roles.values()):
            chosen.losses = [next(iter(roles))]
            chosen.is_adversarial = True
            chosen.notes.append(
                f"{_listed(roles)} work against each other or on different aims, so none is the loss of the training; "
                f"--loss NAME judges one of them"
            )
            return
        if self._signs_of_rewards(parts):
            acting = [column for column in parts if self._meanings[column].role == "actor"]
            chosen.losses = (acting or parts)[:1]
            self._look_for_rewards(chosen, parts)
            return
        parts = [column for column in parts if not self._meanings[column].is_aside] or parts
        most = max(self._counts[column] for column in parts)
        full = [column for column in parts if self._counts[column] >= 0.9 * most]
        if len(full) == 1:
            chosen.losses = full
            if not self._meanings[full[0]].is_kind:
                chosen.notes.append(f"{full[0]} is taken for the loss, as there is no other (--loss overrules it)")
            return
        chosen.losses = full
        chosen.notes.append(
            f"there is no total loss, so the sum of {_listed(full)} is taken for it (--loss NAME takes one of them)"
        )

    def _without_training_loss(self, chosen: Chosen, ranked: list[str]) -> None:
        """What stands for a training loss that is not there."""
        if self._raw.is_table and ranked and not any(self._counts.values()):
            # A loss that was NaN from the start may hold nothing.
            chosen.losses = [ranked[0]]
            return
        held_out = [column for column in self._ranked("val_loss") if self._counts[column]]
        if held_out and "grad_norm" not in chosen.columns:
            chosen.losses, chosen.is_held_out = [held_out[0]], True
            chosen.notes.append(f"there is no training loss, so the validation loss {held_out[0]} stands for it")
        elif self._raw.is_table and (metrics := [column for column in self._ranked("metric") if self._counts[column]]):
            chosen.losses = metrics[:1]
            chosen.notes.append(f"{metrics[0]} is taken for the loss, as there is no other (--loss overrules it)")
        elif self._raw.is_table and ranked:
            chosen.losses = [ranked[0]]

    def _choose_validation(self, chosen: Chosen) -> None:
        """The validation losses of what was chosen: of the whole, or of each of its parts."""
        if chosen.is_held_out or not chosen.losses:
            return
        found = [column for column in self._ranked("val_loss") if self._counts[column]]
        if self._raw.is_text:
            rare = set(self._ranked("loss")) - set(self._without_rare(self._ranked("loss")))
            found = [column for column in found if not self._stands_with(column, rare)]
        parts = [self._meanings[column].part if column in self._meanings else "" for column in chosen.losses]
        wholes = [column for column in found if self._meanings[column].is_whole]
        if len(parts) == 1 and (wholes or self._kin(found, parts[0])):
            own = self._kin(found, parts[0])
            chosen.validation = [own[0] if own and parts[0] else self._fullest(wholes or own)]
        elif all(self._kin(found, part) for part in parts):
            chosen.validation = [self._kin(found, part)[0] for part in parts]
        elif wholes:
            chosen.validation = [self._fullest(wholes)]
        if chosen.validation:
            chosen.notes.append(f"{' + '.join(chosen.validation)} is read as the validation loss")

    def _stands_with(self, column: str, others: Iterable[str]) -> bool:
        """Whether each value of a column has one of some others beside it."""
        beside = [filled(self._raw.columns[other]) for other in others]
        return bool(beside) and bool(np.logical_or.reduce(beside)[filled(self._raw.columns[column])].all())

    def _kin(self, held_out: Iterable[str], part: str) -> list[str]:
        return [column for column in held_out if self._meanings[column].part == part]

    def _no_loss(self) -> UserError:
        """What to tell a user whose log has no loss."""
        if self._raw.is_text:
            return UserError(
                f"{self._name} has no line with a loss or a gradient norm that can be read; name it by --loss NAME, or "
                f"write lines such as `step 100 loss 3.2 grad_norm 1.1`, or CSV with a column loss"
                f"{self._names_that_occur()}"
            )
        return UserError(
            f"{self._name} has no column loss (or train_loss, train/loss, ...); its columns are: "
            f"{_shown(self._raw.names)}. Name the training loss by --loss NAME"
        )


def _numbered(name: str) -> str:
    """The name of a column without one, where a user gives its number."""
    return f"column {name}" if name.isdigit() else name


def _enough(counts: dict[str, int], wholes: Iterable[str], found: Iterable[str]) -> bool:
    """Whether a text's whole loss is no mere summary or message beside the many rows of its parts."""
    return max(counts[column] for column in wholes) >= 0.05 * max(counts[column] for column in found)


def _listed(names: Iterable[str]) -> str:
    """For a sentence: at most six, joined by commas and a last "and"."""
    shown = list(names)
    if len(shown) > 6:
        shown = [*shown[:5], f"{len(shown) - 5} more"]
    return " and ".join([*([", ".join(shown[:-1])] if shown[1:] else []), *shown[-1:]])


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    return (", ".join(names[:MAX_NAMES_SHOWN]) or "none") + more
