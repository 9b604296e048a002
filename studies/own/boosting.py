"""Gradient boosting of regression trees, which is no deep learning: a step too long diverges there, too."""

from typing import Any

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.tree import DecisionTreeRegressor

import sweep

NUM_TRAIN = 300


def train(config: dict[str, Any], run: sweep.Run) -> dict[str, float]:
    """Each tree is fitted to what those before leave over, and counts `step_size` times; squared error."""
    rng = np.random.default_rng(run.seed)
    data = load_diabetes()
    order = np.random.default_rng(0).permutation(len(data.target))
    features, target = data.data[order], (data.target[order] - data.target.mean()) / data.target.std()
    fitted, left_over = np.zeros(len(target)), target.copy()
    run.references(l_const=float(np.mean(target[:NUM_TRAIN] ** 2)))
    for _ in range(run.steps or 100):
        rows = rng.choice(NUM_TRAIN, size=int(config["subsample"] * NUM_TRAIN), replace=False)
        tree = DecisionTreeRegressor(max_depth=3, random_state=0).fit(features[rows], left_over[rows])
        fitted += config["step_size"] * tree.predict(features)
        left_over = target - fitted
        errors = left_over**2
        run.step(loss=float(errors[:NUM_TRAIN].mean()), lr=config["step_size"])
    return {"val_loss": float(errors[NUM_TRAIN:].mean())}
