"""What a training may use of a machine, and on which machines: for all of a study, or by the settings that it has."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, PlainValidator, Tag, model_validator

from slr_models.spec import Spec
from sweep.space import Scalar
from sweep.wording import clipped

MAX_GPUS = 1000
Gpus = float | Literal["auto"]
_GivenNumber = Annotated[float, Field(ge=0, le=1)] | Annotated[int, Field(ge=1, le=MAX_GPUS)]
_GivenGpus = _GivenNumber | Literal["auto"]


def _gpus(value: object) -> Gpus:
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_GPUS:
        raise ValueError(f"a number from 0 to {MAX_GPUS}, or auto, got {clipped(repr(value))}")
    if value > 1 and value != int(value):
        raise ValueError(f"{value:g} GPUs cannot be had: give a fraction below 1, or a whole number")
    return float(value)


def _gpus_of_some(value: object) -> float | None:
    if value is None:
        return None
    gpus = _gpus(value)
    if gpus == "auto":
        raise ValueError("auto is for all trainings: say how much of a GPU these take")
    return gpus


def _feature(text: str) -> str:
    name, is_label, value = text.partition("=")
    if text in ("CPU", "GPU", "memory"):
        raise ValueError("resources.cpus and gpus say how many; memory is asked for as it is measured")
    if not name or name != name.strip() or (is_label and (not value or value != value.strip())):
        raise ValueError(f"a name such as accelerator_type:H100, or key=value of a label, got {clipped(repr(text))}")
    return text


_NodeWith = Annotated[tuple[Annotated[str, AfterValidator(_feature)], ...], Field(max_length=20)]
_Cpus = Annotated[int, Field(ge=1, le=100_000)]


class Within(Spec):
    """Numbers from one on, below another, or both."""

    at_least: float | None = None
    """The lowest."""
    below: float | None = None
    """The first that is too high."""

    @model_validator(mode="after")
    def _holds_some(self) -> Self:
        if self.at_least is None and self.below is None:
            raise ValueError("give at_least, below, or both")
        if self.at_least is not None and self.below is not None and self.at_least >= self.below:
            raise ValueError(f"no number is at least {self.at_least:g} and below {self.below:g}")
        return self

    def holds(self, value: Scalar) -> bool:
        """Whether a value is a number of them."""
        if isinstance(value, bool | str):
            return False
        return (self.at_least is None or value >= self.at_least) and (self.below is None or value < self.below)

    def __str__(self) -> str:
        ends = (("at least", self.at_least), ("below", self.below))
        return " and ".join(f"{word} {end:g}" for word, end in ends if end is not None)


def _as_values(value: object) -> object:
    """One value as a list of it."""
    return value if isinstance(value, list | tuple) or value is None else (value,)


def _kind_of(value: object) -> str:
    return "within" if isinstance(value, Mapping | Within) else "values"


_Values = Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=1000)]
Condition = Annotated[
    Annotated[_Values, BeforeValidator(_as_values, json_schema_input_type=Scalar | _Values), Tag("values")]
    | Annotated[Within, Tag("within")],
    Discriminator(_kind_of),
]
"""A value or a list of them, or numbers within bounds."""


class Demand(Spec):
    """What trainings with certain settings ask for, where that is not what the others do."""

    when: dict[str, Condition] = Field(min_length=1, max_length=200)
    """Dotted path of a setting that varies -> its value, a list of values, or {at_least: number, below: number}, of
    which one may be left out. All of them must hold; a setting that a training does not have never does."""
    cpus: _Cpus | None = None
    """As `resources.cpus`, which holds where this is left out; so do the others."""
    gpus: Annotated[float | None, PlainValidator(_gpus_of_some, json_schema_input_type=_GivenNumber | None)] = None
    """As `resources.gpus`, but not `auto`."""
    node_with: _NodeWith | None = None
    """As `resources.node_with`, in whose place it stands."""

    @property
    def asked(self) -> dict[str, Any]:
        """What it asks for, by the names of `Resources`."""
        every = {"cpus": self.cpus, "gpus": self.gpus, "node_with": self.node_with}
        return {name: value for name, value in every.items() if value is not None}

    def is_of(self, settings: Mapping[str, Scalar]) -> bool:
        """Whether it is what a training with these settings asks for."""
        return all(path in settings and _holds(condition, settings[path]) for path, condition in self.when.items())

    def __str__(self) -> str:
        return " and ".join(
            f"{path} is {condition if isinstance(condition, Within) else ' or '.join(map(str, condition))}"
            for path, condition in self.when.items()
        )


def _holds(condition: tuple[Scalar, ...] | Within, value: Scalar) -> bool:
    return condition.holds(value) if isinstance(condition, Within) else value in condition


class Resources(Spec):
    """What one trial may use."""

    cpus: _Cpus = 1
    """CPU cores, and torch threads."""
    gpus: Annotated[Gpus, PlainValidator(_gpus, json_schema_input_type=_GivenGpus)] = 0.0
    """GPUs. A fraction below 1 lets several trials share one; `auto` finds it: the first trial runs alone, then as many
    share a GPU as its memory holds. Above 1, for a model of your own that uses them: whole numbers."""
    node_with: _NodeWith = ()
    """What the node of a training must have, all of it: resources of Ray by name, such as `accelerator_type:H100` or
    those of `ray start --resources`, and labels as `key=value`. Empty: trainings run on any node of a cluster."""
    where: tuple[Demand, ...] = Field((), max_length=20)
    """Trainings that ask for something else because of their settings. The first entry whose `when` holds decides; what
    it leaves out, and all of a training for which none holds, is as above."""
    max_parallel: int | None = Field(None, ge=1, le=100_000)
    """Most trials at the same time; `--jobs` sets another number for one run. Null: as many as fit."""
    stacked: int = Field(1, ge=1, le=1000)
    """Trainings that go on side by side in one process, whose gradients are computed together where they are of one
    shape: it saves time with small models (`docs/performance.md` says how much), and takes the memory of all of them.
    Learning rate, clip, seed and scales of the first weights may differ; fp32 without dropout, not with a scheduler."""
    out_of_memory: Literal["fail", "accumulate"] = "fail"
    """What comes of a training that runs out of memory. `accumulate` tries it again with smaller micro-batches and more
    of them, so that an update is of the same utterances; its row says so in `micro_batch`."""

    def of(self, settings: Mapping[str, Scalar]) -> "Resources":
        """What a training with these settings may use: the same for all of them, without `where`."""
        if not self.where:
            return self
        return self._with(next((demand for demand in self.where if demand.is_of(settings)), None))

    @property
    def by_settings(self) -> dict[str, "Resources"]:
        """What is asked for, by whose settings in words, such as `model.width is 0.5`; of the others first, by none."""
        return {"": self._with(None), **{str(demand): self._with(demand) for demand in self.where}}

    def _with(self, demand: Demand | None) -> "Resources":
        return self.model_copy(update={"where": (), **({} if demand is None else demand.asked)})
