""".pt and .pth: tensors, and mappings and lists of them; read as weights are, so that no code in a file runs."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slr_models.convert.containers import of_file
from slr_models.convert.utterance import Found, Source
from slr_models.errors import DataError


def read(source: Source, path: Path) -> Found:
    """The utterances of a file."""
    import torch

    # What torch has saved since 1.6 is looked up in the file where it is asked for, and need not fit into memory.
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} holds objects of Python beside tensors (NumPy's arrays are such); save "
            "{'features': tensor, 'labels': [...]} with torch.save"
        ) from error
    yield from of_file(source, path, as_numpy(content))


def as_numpy(content: Any) -> Any:
    """The same mappings and lists with NumPy's arrays for tensors."""
    import torch

    if isinstance(content, torch.Tensor):
        tensor = content.detach().cpu()
        # NumPy has no bfloat16.
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    if isinstance(content, Mapping):
        return {key: as_numpy(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [as_numpy(value) for value in content]
    return content
