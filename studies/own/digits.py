"""Handwritten digits (8 x 8 pixels, scikit-learn's own) by a small network in plain torch."""

from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

import sweep

NUM_TRAIN, BATCH_SIZE = 1400, 32
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def train(config: dict[str, Any], run: sweep.Run) -> dict[str, float]:
    """Trains with plain gradient descent; its settings are `lr`, `precision` and `init_scale`."""
    torch.manual_seed(run.seed)
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    features = torch.tensor(digits.data[order] / 16.0, dtype=torch.float32)
    labels = torch.tensor(digits.target[order])
    run.references(labels=labels[:NUM_TRAIN])
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    with torch.no_grad():
        for weights in model.parameters():
            weights *= config["init_scale"]
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"], momentum=0.9)
    dtype = AUTOCAST.get(config["precision"])

    def loss_of(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            scores = model(features[rows])
        return torch.nn.functional.cross_entropy(scores.float(), labels[rows]), scores

    def step(rows: torch.Tensor) -> dict[str, Any]:
        loss, _ = loss_of(rows)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        optimizer.step()
        return {"loss": loss, "grad_norm": norm, "lr": config["lr"]}

    # It reports each step, and keeps what it takes to find out why one broke.
    train_batch = run.snapshot(step, model, optimizer)
    for _ in range(run.steps or 200):
        train_batch(torch.randint(NUM_TRAIN, (BATCH_SIZE,)))
    held_out = torch.arange(NUM_TRAIN, len(labels))
    with torch.no_grad():
        loss, scores = loss_of(held_out)
    accuracy = (scores.argmax(1) == labels[held_out]).float().mean()
    return {"val_loss": float(loss), "accuracy": float(accuracy)}
