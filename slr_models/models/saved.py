"""A trained model in a file: its weights, and all that it is built of again."""

import pickle
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from slr_models.data.batch import Dataset, FeatureGroup
from slr_models.errors import DataError
from slr_models.models.base import CtcModel
from slr_models.models.configs import ModelConfig

_CONFIG: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)


def save_model(path: Path, model: CtcModel, config: ModelConfig, dataset: Dataset) -> None:
    """Writes a model to a file that `load_model` reads; it holds tensors, numbers and texts alone, and no code.

    Raises:
        OSError: it cannot be written.
    """
    content = {
        "model": config.model_dump(mode="json"),
        "groups": [[group.name, group.start, group.stop] for group in dataset.groups],
        "vocabulary": list(dataset.vocabulary),
        "weights": {name: weights.detach().cpu() for name, weights in model.state_dict().items()},
    }
    save_state(content, path)


def save_state(state: dict[str, Any], path: Path) -> None:
    """Saves a state.

    Raises:
        OSError: it cannot be written.
    """
    try:
        torch.save(state, path)
    except torch.AcceleratorError:
        raise
    except RuntimeError as error:
        # torch's writer hides what the system said.
        raise OSError(f"{path} cannot be written: is the disk full?") from error


def load_model(path: Path | str) -> tuple[CtcModel, tuple[str, ...]]:
    """Builds a model of a file that `slr-sweep train` wrote, on the CPU, for evaluation.

    Args:
        path: the file.

    Returns:
        The model, which takes features [B, T, F] as the study's data source makes them and lengths [B]; and its
        vocabulary of V entries, whose first is the blank.

    Raises:
        DataError: it is no such file.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        config = _CONFIG.validate_python(content["model"])
        groups = [FeatureGroup(*group) for group in content["groups"]]
        vocabulary = tuple(content["vocabulary"])
        weights = content["weights"]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; give the path of a model.pt that slr-sweep train wrote") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValidationError) as error:
        raise DataError(
            f"{path} is no model that slr-sweep train wrote ({type(error).__name__}); train it again"
        ) from error
    model = config.build(groups[-1].stop, groups, len(vocabulary), 0)
    model.load_state_dict(weights)
    return model.eval(), vocabulary
