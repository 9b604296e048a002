"""What one more training would teach is what it does teach, on average."""

import numpy as np
from scipy.special import ndtr

from sweep.boundary.lessons import lessons
from sweep.boundary.process import Process


def process(num: int = 14, seed: int = 0) -> Process:
    rng = np.random.default_rng(seed)
    places = rng.random((num, 2))
    return Process(places, np.where(places[:, 0] > 0.55, 0.4, -0.4) + 0.02 * rng.standard_normal(num))


def doubt(model: Process, points) -> float:
    mean, std = model.predict(points)
    return float(ndtr(-np.abs(mean) / std).sum())


def test_it_is_the_mean_over_what_a_training_may_come_to() -> None:
    model, rng = process(), np.random.default_rng(1)
    points, candidates = rng.random((60, 2)), np.array([[0.55, 0.5], [0.05, 0.9]])
    told = lessons(model, candidates, points)
    for place, worth in zip(candidates, told, strict=True):
        mean, std = model.predict(place[None])
        after = []
        for draw in rng.standard_normal(400):
            end = float(mean[0] + draw * np.sqrt(std[0] ** 2 + model.noise))
            more = Process(np.vstack([model.features, place]), np.append(model.targets, end), fitted=model)
            after.append(doubt(more, points))
        spread = np.std(after) / np.sqrt(len(after))
        assert abs(doubt(model, points) - np.mean(after) - worth) < 4 * spread + 0.05


def test_it_is_most_at_the_boundary_and_never_less_than_nothing() -> None:
    model = process(40)
    along = np.column_stack([np.linspace(0, 1, 41), np.full(41, 0.5)])
    worth = lessons(model, along, np.random.default_rng(2).random((200, 2)))
    assert worth.min() > -1e-3 * len(worth)
    assert abs(along[int(worth.argmax()), 0] - 0.55) < 0.15


def test_what_was_seen_under_many_seeds_teaches_little_more() -> None:
    model, here = process(), np.array([[0.55, 0.5]])
    points = np.random.default_rng(3).random((100, 2))
    often = Process(
        np.vstack([model.features, np.repeat(here, 30, axis=0)]),
        np.append(model.targets, np.tile([0.4, -0.4], 15)),
        fitted=model,
    )
    assert lessons(often, here, points)[0] < 0.5 * lessons(model, here, points)[0]
