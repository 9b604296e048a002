"""Trains one setting to its end or to its alarm: a line an evaluation, a checkpoint there, the best weights kept."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from slr_models.errors import ResultsError
from slr_models.models.saved import save_model, save_state
from sweep import store
from sweep.judging.monitor import RunContext, StabilityMonitor
from sweep.machine import is_of_machine, storing
from sweep.records import EvalRecord, StepRecord, Verdict
from sweep.train.chosen import ChosenSetting
from sweep.training.learnable import floors, output_lengths
from sweep.training.train import Training
from sweep.wording import number, percent

CHECKPOINT, MODEL = "last.pt", "model.pt"


class LongerTraining:
    """One training under way; made anew, it goes on from its checkpoint."""

    def __init__(self, what: ChosenSetting, folder: Path) -> None:
        """Builds it, or reads its checkpoint.

        Args:
            what: to train.
            folder: of its checkpoint and its weights.

        Raises:
            ResultsError: what is there is of another training, whose weights would be lost, or damaged.
        """
        self._what, self._folder = what, folder
        study = what.loaded.study
        l_const, l_unif = floors(output_lengths(what.config, what.dataset), what.dataset)
        self._training = Training(what.config, what.dataset, seed=what.seed, max_steps=what.steps, device=what.device)
        context = RunContext(
            l_const=l_const,
            l_unif=l_unif,
            budget_steps=what.steps,
            has_scaler=self._training.precision.has_scaler,
        )
        self._monitor = StabilityMonitor(context, study.monitor)
        self.best: dict[str, float] | None = None
        """Of the weights in the file: `step`, `wer`, `val_loss`."""
        self._resume()

    @property
    def step(self) -> int:
        """How far it is."""
        return self._training.step

    @property
    def model_path(self) -> Path:
        """The best weights."""
        return self._folder / MODEL

    def run(self, say: Callable[[str], None]) -> Verdict:
        """Trains on, to the end or to an alarm.

        Args:
            say: takes a line an evaluation.

        Raises:
            MachineError: the disk does not take its files.
        """
        started, last_loss, lr = time.monotonic(), float("nan"), float("nan")
        for record in self._training.records():
            if isinstance(record, StepRecord):
                last_loss = record.loss if record.loss is not None else last_loss
                lr = record.lr if record.lr is not None else lr
                if (alarm := self._monitor.observe(record)) is not None:
                    return alarm
            elif isinstance(record, EvalRecord):
                self._monitor.observe_validation(record.step, record.val_loss)
                is_best = self._keep(record)
                say(
                    f"step {record.step}/{self._what.steps}  loss {number(last_loss)}  validation loss "
                    f"{number(record.val_loss)}  WER {percent(record.wer, 1)}  rate {number(lr)}  "
                    f"{time.monotonic() - started:.0f} s{'  best so far' if is_best else ''}"
                )
        return self._monitor.finish()

    def _keep(self, record: EvalRecord) -> bool:
        """Writes the checkpoint, and the weights if they are the best so far; whether they are."""
        measured = {"step": float(record.step), "wer": record.wer, "val_loss": record.val_loss}
        is_best = self.best is None or (record.wer, record.val_loss) < (self.best["wer"], self.best["val_loss"])
        with storing(self._folder):
            if is_best:
                self.best = measured
                with store.atomic_path(self.model_path) as temporary:
                    save_model(temporary, self._training.evaluated_model, self._what.config.model, self._what.dataset)
            with store.atomic_path(self._folder / CHECKPOINT) as temporary:
                save_state(self._state(), temporary)
        return is_best

    def _state(self) -> dict[str, Any]:
        return {
            "of": self._what.identity,
            "training": self._training.state_dict(),
            "monitor": self._monitor.state_dict(),
            "best": self.best,
        }

    def _resume(self) -> None:
        path = self._folder / CHECKPOINT
        if not path.is_file():
            return
        try:
            with storing(self._folder):
                state = torch.load(path, map_location="cpu", weights_only=True)
            is_ours = state["of"] == self._what.identity
            if is_ours:
                self._training.load_state_dict(state["training"])
                self._monitor.load_state_dict(state["monitor"])
                self.best = state["best"] if self.model_path.is_file() else None
        except Exception as error:
            if is_of_machine(error):
                raise
            raise ResultsError(f"{path} is damaged: delete it to begin anew, which replaces {MODEL}") from error
        if not is_ours:
            raise ResultsError(
                f"{self._folder} holds another training, of other --steps, settings or data, whose weights would be "
                f"lost: rename or delete that folder, or give the --steps that it had"
            )
