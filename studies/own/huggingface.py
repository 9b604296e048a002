"""Handwritten digits by Hugging Face's Trainer: the callback reports through the run."""

import tempfile
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

import sweep
from sweep.integrations.huggingface import StabilityCallback

NUM_TRAIN = 1400


class Network(nn.Module):
    """Gives its loss with its scores, as the Trainer has it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Scores [B, 10] and their mean cross entropy."""
        scores = self.layers(features)
        return {"loss": nn.functional.cross_entropy(scores, labels), "logits": scores}


def train(config: dict[str, Any], run: sweep.Run) -> dict[str, float]:
    """Trains with AdamW and a linear schedule; its settings are `lr` and `warmup_steps`."""
    torch.manual_seed(run.seed)
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    features, labels = (digits.data[order] / 16.0).astype(np.float32), digits.target[order]
    rows = [{"features": one, "labels": int(label)} for one, label in zip(features, labels, strict=True)]
    run.references(labels=labels[:NUM_TRAIN])
    steps = run.steps or 150
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=32,
            learning_rate=config["lr"],
            warmup_steps=config["warmup_steps"],
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=run.seed,
            use_cpu=True,
            dataloader_num_workers=0,
        )
        trainer = Trainer(
            Network(),
            arguments,
            train_dataset=rows[:NUM_TRAIN],  # type: ignore[arg-type]  # any sequence will do
            eval_dataset=rows[NUM_TRAIN:],  # type: ignore[arg-type]
            callbacks=[StabilityCallback(run=run)],
            compute_metrics=lambda found: {"accuracy": float((found[0].argmax(1) == found[1]).mean())},
        )
        trainer.train()
        found = trainer.evaluate()
    return {"val_loss": found["eval_loss"], "accuracy": found["eval_accuracy"]}
