"""Handwritten digits by Lightning's Trainer: the callback reports through the run."""

import logging
import warnings
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import sweep
from sweep.integrations.lightning import StabilityCallback

NUM_TRAIN = 1400


class Network(LightningModule):
    """A small network, its loss and its optimizer."""

    def __init__(self, lr: float, momentum: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        self._lr, self._momentum = lr, momentum

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        """Mean cross entropy of a batch."""
        features, labels = batch
        return nn.functional.cross_entropy(self.layers(features), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Gradient descent with momentum."""
        return torch.optim.SGD(self.parameters(), lr=self._lr, momentum=self._momentum)


def train(config: dict[str, Any], run: sweep.Run) -> dict[str, float]:
    """Trains; its settings are `lr` and `momentum`."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    seed_everything(run.seed, verbose=False)
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    features = torch.tensor(digits.data[order] / 16.0, dtype=torch.float32)
    labels = torch.tensor(digits.target[order])
    run.references(labels=labels[:NUM_TRAIN])
    network = Network(config["lr"], config["momentum"])
    trainer = Trainer(
        max_steps=run.steps or 150,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[StabilityCallback(run=run)],
    )
    with warnings.catch_warnings():
        # That the loader has no workers of its own.
        warnings.simplefilter("ignore")
        trainer.fit(
            network, DataLoader(TensorDataset(features[:NUM_TRAIN], labels[:NUM_TRAIN]), batch_size=32, shuffle=True)
        )
    with torch.no_grad():
        scores = network.layers(features[NUM_TRAIN:])
    loss = nn.functional.cross_entropy(scores, labels[NUM_TRAIN:])
    return {"val_loss": float(loss), "accuracy": float((scores.argmax(1) == labels[NUM_TRAIN:]).float().mean())}
