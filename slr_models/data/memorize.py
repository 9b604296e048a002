"""A few utterances of another source, trained on and evaluated on: can a model memorise them?"""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from slr_models.data.batch import Dataset, Split
from slr_models.data.sources import SourceConfig
from slr_models.data.unseen import is_unseen_note
from slr_models.errors import DataError
from slr_models.spec import Spec


class MemorizeConfig(Spec):
    """The overfit test: a model that cannot learn even this by heart will learn nothing from more data."""

    kind: Literal["memorize"] = "memorize"
    """Selects this source."""
    num_utterances: int = Field(default=10, ge=1, le=1_000_000)
    """Utterances taken from the beginning of the source's training split."""
    source: SourceConfig = Field(discriminator="kind")
    """Where they come from."""

    def build(self) -> Dataset:
        """Builds the source; its first training utterances become both splits.

        Raises:
            DataError: The source cannot be built, or has fewer training utterances.
        """
        dataset = self.source.build()
        available = len(dataset.train)
        if available < self.num_utterances:
            raise DataError(
                f"num_utterances is {self.num_utterances}, but the source has only {available} training utterances; "
                "reduce num_utterances."
            )
        few = _first(dataset.train, self.num_utterances)
        facts = replace(
            dataset.facts,
            valid_measures=f"The {self.num_utterances} utterances that are trained on: whether a model can memorise "
            "them, nothing about others.",
            notes=tuple(note for note in dataset.facts.notes if not is_unseen_note(note)),
        )
        return replace(dataset, train=few, valid=few, facts=facts)


def _first(split: Split, size: int) -> Split:
    """The first utterances, as views."""
    return Split(
        features=split.features[: split.offsets[size]],
        offsets=split.offsets[: size + 1],
        labels=split.labels[: split.label_offsets[size]],
        label_offsets=split.label_offsets[: size + 1],
        ids=split.ids[:size],
        signers=split.signers[:size],
    )
