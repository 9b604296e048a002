"""A user's own source: a function that returns a Dataset, named by its import path."""

import inspect
from typing import Literal

import numpy as np
from pydantic import Field, JsonValue

from slr_models.data.batch import BLANK_TOKEN, Dataset, Split
from slr_models.errors import DataError, UserError
from slr_models.spec import Spec
from slr_models.user_code import FactoryName, imported, raised_text


class CustomDataConfig(Spec):
    """Data from a function of the user; see `slr_models.user_code` for what may be one."""

    kind: Literal["custom"] = "custom"
    """Selects this source."""
    factory: FactoryName
    """The function, as "package.module:function"; it returns a `slr_models.data.Dataset`."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Its keyword arguments."""

    def build(self) -> Dataset:
        """Calls the function and checks what it returns.

        Raises:
            SettingError: The function cannot be found, or must not be used.
            DataError: It does not take the options, or fails, or its result breaks the contract of `Dataset`.
        """
        function = imported(self.factory, "data.factory")
        try:
            inspect.signature(function).bind(**self.options)
        except TypeError as error:
            raise DataError(f"{self.factory} does not take the given options: {error}.") from error
        try:
            dataset = function(**self.options)
        except UserError:
            raise
        except Exception as error:
            raise DataError(f"{self.factory} failed: {raised_text(error)}") from error
        if not isinstance(dataset, Dataset):
            raise DataError(f"{self.factory} returned a {type(dataset).__name__}; return a slr_models.data.Dataset.")
        broken = broken_rule(dataset)
        if broken is not None:
            raise DataError(f"{self.factory} returned a dataset in which {broken}.")
        return dataset


def broken_rule(dataset: Dataset) -> str | None:
    """What a dataset breaks of its contract, as a clause for a message; None where it is sound.

    Features may hold NaN: whether a training survives it is what a study can ask.
    """
    if not dataset.vocabulary or dataset.vocabulary[0] != BLANK_TOKEN:
        return f"vocabulary[0] is not {BLANK_TOKEN!r}"
    if len(set(dataset.vocabulary)) != len(dataset.vocabulary):
        return "the vocabulary holds an entry twice"
    bounds = [(group.start, group.stop) for group in dataset.groups]
    edges = [0, *(stop for _, stop in bounds)]
    if [start for start, _ in bounds] != edges[:-1] or edges[-1] != dataset.num_features:
        return f"the groups {bounds} do not cut the {dataset.num_features} feature columns into parts in order"
    for name, split in (("train", dataset.train), ("valid", dataset.valid)):
        broken = _broken_split(split, len(dataset.vocabulary))
        if broken is not None:
            return f"the {name} split {broken}"
    if dataset.valid.num_features != dataset.num_features:
        return f"train has {dataset.num_features} features and valid {dataset.valid.num_features}"
    return None


def _broken_split(split: Split, vocabulary_size: int) -> str | None:
    if len(split) == 0:
        return "is empty"
    if split.features.dtype != np.float32 or split.features.ndim != 2:
        return f"has {split.features.ndim}-D {split.features.dtype} features, not 2-D float32"
    if len(split.signers) != len(split):
        return f"names {len(split.signers)} signers for {len(split)} utterances"
    for what, offsets, end in (
        ("offsets", split.offsets, len(split.features)),
        ("label_offsets", split.label_offsets, len(split.labels)),
    ):
        if offsets.shape != (len(split) + 1,) or offsets[0] != 0 or offsets[-1] != end:
            return f"has {what} that do not run from 0 to {end} in {len(split) + 1} entries"
        if (np.diff(offsets) < 1).any():
            empty = split.ids[int(np.argmax(np.diff(offsets) < 1))]
            return f"has an empty {'utterance' if what == 'offsets' else 'target'}, {empty!r}"
    if split.labels.min() < 1 or split.labels.max() >= vocabulary_size:
        return f"has labels outside of 1..{vocabulary_size - 1}"
    return None
