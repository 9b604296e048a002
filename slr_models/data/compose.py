"""Continuous utterances from single clips: joined with transitions, varied by random augmentation.

Dimension legend: T frames, P points, D coordinates a point, F features, U labels of a target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from slr_models.data.batch import FeatureGroup, Split
from slr_models.data.feasibility import min_frames
from slr_models.data.layout import Clip, Layout, PointSet
from slr_models.data.normalize import feature_groups, features
from slr_models.memory import check_memory
from slr_models.spec import Spec


class Augmentation(Spec):
    """How much each composed utterance varies; 0 turns a kind off.

    Training and validation utterances are varied with the same strengths and different draws.
    """

    time_warp: float = Field(default=0.2, ge=0, le=1)
    """Each clip lasts exp(u) times as long, u uniform in [-time_warp, time_warp]; [0, 1]."""
    scale: float = Field(default=0.1, ge=0, le=0.9)
    """The body is 1 + u times as large, u uniform in [-scale, scale]; a fraction."""
    rotation_deg: float = Field(default=8.0, ge=0, le=180)
    """The image turns about the shoulders' middle by up to this angle either way; degrees."""
    jitter: float = Field(default=0.005, ge=0, le=1)
    """Standard deviation of noise on each coordinate in each frame; shoulder widths."""
    dropped_frame_rate: float = Field(default=0.03, ge=0, lt=1)
    """Share of frames that are lost, as by a slow camera; [0, 1)."""


@dataclass(frozen=True)
class Script:
    """What an utterance is made of."""

    clips: tuple[Clip, ...]
    """Selected clips in the body frame, in order."""
    transitions: tuple[int, ...]
    """Frames from each clip to the next; one fewer than clips."""
    labels: tuple[int, ...]
    """The target; fillers among the clips have none, so it can be shorter."""
    id: str
    signer: str


@dataclass(frozen=True)
class Rendering:
    """How scripts become features."""

    layout: Layout
    """Layout of the scripts' clips."""
    points: PointSet
    velocity: bool
    frames_per_clip: int | None
    """Mean length that clips are brought to before the time warp; None keeps their own."""
    frames_per_output: int
    """Input frames an output frame of the model: every target fits into the outputs."""
    augmentation: Augmentation

    @property
    def groups(self) -> tuple[FeatureGroup, ...]:
        """The columns of each part."""
        return feature_groups(self.layout, self.points, self.velocity)


def resample(clip: Clip, num_frames: int) -> Clip:
    """The clip at another speed: linear between frames, presence from the nearer one."""
    if num_frames == len(clip):
        return clip
    position = np.linspace(0.0, len(clip) - 1.0, num_frames)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, len(clip) - 1)
    weight = (position - low).astype(np.float32)[:, None, None]
    points = clip.points[low] * (1 - weight) + clip.points[high] * weight
    return Clip(points, clip.present[np.rint(position).astype(np.int64)])


def join(clips: Sequence[Clip], transitions: Sequence[int]) -> Clip:
    """Clips end to end; each transition moves every point smoothly from one clip's end to the next one's start.

    In a transition a point is present where it is present on both sides.
    """
    points, present = [clips[0].points], [clips[0].present]
    for before, after, num_frames in zip(clips[:-1], clips[1:], transitions, strict=True):
        phase = np.arange(1, num_frames + 1, dtype=np.float32) / (num_frames + 1)
        # Smoothstep: a hand speeds up and slows down.
        weight = (phase * phase * (3 - 2 * phase))[:, None, None]
        points.append(before.points[-1] * (1 - weight) + after.points[0] * weight)
        present.append(np.repeat((before.present[-1] & after.present[0])[None], num_frames, axis=0))
        points.append(after.points)
        present.append(after.present)
    return Clip(np.concatenate(points), np.concatenate(present))


def perform(script: Script, rendering: Rendering, rng: np.random.Generator) -> Clip:
    """One augmented performance of a script, before feasibility is looked at."""
    strength = rendering.augmentation
    speeds = np.exp(rng.uniform(-strength.time_warp, strength.time_warp, size=len(script.clips)))
    lengths = [rendering.frames_per_clip or len(clip) for clip in script.clips]
    clips = [
        resample(clip, max(2, round(length * float(speed))))
        for clip, length, speed in zip(script.clips, lengths, speeds, strict=True)
    ]
    joined = join(clips, script.transitions)
    kept = rng.random(len(joined)) >= strength.dropped_frame_rate
    kept[0] = True
    points = joined.points[kept]
    factor = 1.0 + rng.uniform(-strength.scale, strength.scale)
    angle = np.deg2rad(rng.uniform(-strength.rotation_deg, strength.rotation_deg))
    turn = np.eye(points.shape[2])
    turn[:2, :2] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    points = points @ (factor * turn).astype(np.float32)
    points = points + np.float32(strength.jitter) * rng.standard_normal(points.shape, dtype=np.float32)
    return Clip(points, joined.present[kept])


def render(scripts: Sequence[Script], rendering: Rendering, seed: int, stream: int) -> tuple[Split, int]:
    """Performs all scripts.

    Utterance i draws from its own random stream, (seed, stream, i): a longer split begins with the shorter one.

    Returns:
        The split, and how many utterances were slowed down because CTC could not have aligned their target.
    """
    frames = sum(
        sum(rendering.frames_per_clip or len(clip) for clip in script.clips) + sum(script.transitions)
        for script in scripts
    )
    num_bytes = 4.0 * frames * rendering.groups[-1].stop
    check_memory(num_bytes, f"{len(scripts)} composed utterances", "lower num_train, num_valid or their lengths")
    blocks, stretched = [], 0
    for index, script in enumerate(scripts):
        clip = perform(script, rendering, np.random.default_rng((seed, stream, index)))
        needed = min_frames(script.labels, rendering.frames_per_output)
        if len(clip) < needed:
            clip = resample(clip, needed)
            stretched += 1
        blocks.append(features(clip, rendering.layout, rendering.points, rendering.velocity))
    split = Split.from_utterances(
        blocks,
        [script.labels for script in scripts],
        [script.id for script in scripts],
        [script.signer for script in scripts],
        num_features=rendering.groups[-1].stop,
    )
    return split, stretched
