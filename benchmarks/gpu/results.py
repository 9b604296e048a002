"""The result of a GPU day: what stands in its JSON. None where something was not measured, or is not known."""

from dataclasses import dataclass, field
from enum import StrEnum

SCHEMA = 1
"""Raised whenever a field changes its meaning or goes away."""


@dataclass(frozen=True)
class Card:
    """Where it ran."""

    name: str
    """The GPU's; the processor's architecture on a CPU."""
    memory_mib: float | None
    compute_capability: str | None
    torch: str
    cuda: str | None
    """That torch was built for."""
    driver: str | None
    python: str
    cores: int


@dataclass(frozen=True)
class TestRun:
    """One test marked `gpu`."""

    __test__ = False

    test: str
    outcome: str
    """passed, failed or skipped."""
    seconds: float
    message: str
    """Of one that did not pass."""


@dataclass(frozen=True)
class ModelRun:
    """One short training, judged by the monitor and stopped at its alarm."""

    model: str
    precision: str
    lr: float
    outcome: str
    stop_step: int | None
    """Where an alarm stopped it."""
    num_steps: int
    num_skipped: int
    """Updates that were refused; those in which fp16 finds its loss scale among them."""
    end_loss: float | None
    """Of the last step, nats a label; no number if that was not finite."""
    samples_per_s: float | None
    """Without the first steps and without evaluations."""
    peak_memory_mib: float | None
    implementation: str
    """What really computed."""
    reason: str


@dataclass(frozen=True)
class EmulationRun:
    """The same training in fp16 by emulation on the CPU and on the GPU."""

    model: str
    seed: int
    num_steps: int
    skips_emulated: int
    skips_gpu: int
    same_skips: bool
    """Whether the same steps were left out."""
    end_scale_emulated: float
    end_scale_gpu: float
    same_end_scale: bool
    loss_difference: float | None
    """Largest over the steps, as a share of the loss; no number where one was finite and the other was not."""
    is_within_tolerance: bool
    tolerance: float
    """Of `loss_difference`."""
    fp32_loss_difference: float | None
    """The same between two trainings in fp32: what another order of summation alone does."""


@dataclass(frozen=True)
class MonitorRun:
    """One of the four loops of `benchmarks.speed.monitor_cost`."""

    model: str
    precision: str
    loop: str
    step_ms: float
    monitor_us: float | None
    """A call of the monitor."""
    monitor_share: float | None
    """The same, as a share of the rest of the step."""
    waits_per_step: float | None
    """Operations that made the host wait for the GPU; torch's CTC loss makes some itself."""
    added_waits: float | None
    """More than in the same loop without a monitor."""


@dataclass(frozen=True)
class PackedRun:
    """So many trainings of one model side by side, each in a process of its own."""

    model: str
    num_trials: int
    samples_per_s: float
    """Of all together."""
    slowest_samples_per_s: float
    fastest_samples_per_s: float
    gain: float
    """All together, as a multiple of one alone."""
    each: float
    """A training's mean speed, as a share of one alone."""
    peak_memory_mib: float | None
    """The largest of one training's own."""


@dataclass(frozen=True)
class PrecisionRun:
    """A bare training step in one precision."""

    model: str
    batch: int
    precision: str
    step_ms: float
    ratio: float
    """To the fp32 step beside it: median over the steps."""
    ratio_low: float
    """Lower quartile."""
    ratio_high: float
    """Upper quartile."""
    peak_memory_mib: float | None


Row = Card | TestRun | ModelRun | EmulationRun | MonitorRun | PackedRun | PrecisionRun


class Status(StrEnum):
    """How a part ended."""

    DONE = "done"
    FAILED = "failed"
    OUT_OF_TIME = "ran out of its time"


@dataclass(frozen=True)
class PartResult:
    """One part, with the rows that it had when it ended."""

    name: str
    title: str
    status: Status
    message: str
    """Why it failed; empty if it did not."""
    seconds: float
    limit_s: float
    rows: list[Row] = field(default_factory=list)
    output: str = ""
    """The last of what it printed, where it was not done: tracebacks are there."""


@dataclass(frozen=True)
class GpuDay:
    """All of it."""

    device: str
    quick: bool
    """With tiny settings, which test the script and measure nothing."""
    minutes: float
    """That it was given."""
    started_at: str
    """ISO 8601, UTC."""
    seconds: float
    card: Card | None
    parts: list[PartResult]
    schema: int = SCHEMA

    @property
    def is_whole(self) -> bool:
        """Whether every part did all that it should."""
        return all(part.status is Status.DONE for part in self.parts)
