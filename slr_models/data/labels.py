"""Clean-up of glosses, as a benchmark does it before errors are counted: what is no sign goes, variants become one.

The presets have the rules of the evaluation scripts that come with the corpora: evaluatePhoenix2014.sh, and
evaluatePHOENIX-2014-T-signrecognition.sh. Those see a reference as one line, in which neighbours are joined (A S to
A+S), and a hypothesis as a line a gloss, where each gloss is changed by itself; so it is done here, as else a WER could
not be held against published ones. A hypothesis A S is thus wrong, and has to be learned as A+S.

Published references of 2014 were cleaned before, and come through as they are, but for those in which a list has two
blanks between equal neighbours (1 of 540 dev utterances, 3 of 629 test utterances): they become one.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from slr_models.spec import Spec

Labels = tuple[str, ...]


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _gloss(text: str) -> str:
    if len(text.split()) != 1:
        raise ValueError(f"{text!r} is not one gloss; name one, without blanks")
    return _nfc(text)


Gloss = Annotated[str, AfterValidator(_gloss)]
Glosses = Annotated[str, Field(pattern=r"\S"), AfterValidator(_nfc)]


class LabelsConfig(Spec):
    """Clean-up of the labels: of the preset first, then `replace`, then `drop`."""

    preset: Literal["phoenix2014", "phoenix2014T"] | None = None
    """The rules of the evaluation script of RWTH-PHOENIX-2014 or 2014T; None: no others than below."""
    replace: dict[Gloss, Glosses] = Field(default_factory=dict)
    """Gloss -> what stands for it: another gloss, or several apart by blanks."""
    drop: tuple[Gloss, ...] = ()
    """Glosses that are left out of every sequence."""
    when: Literal["loading", "evaluation"] = "loading"
    """loading: the model learns the clean labels. evaluation: it learns them as they are written, and references and
    hypotheses are cleaned before errors are counted, as for published numbers; `wer_raw` is the WER without that."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.preset or self.replace or self.drop):
            raise ValueError("labels changes nothing; give preset, replace or drop, or remove labels")
        if both := sorted(self.replace.keys() & set(self.drop)):
            raise ValueError(f"replace and drop both name {', '.join(both)}; remove them from one")
        return self

    def reference(self, labels: Sequence[str]) -> Labels:
        """The clean form of what an utterance holds; it may be empty."""
        return self._own(labels if self.preset is None else _PRESETS[self.preset].reference(labels))

    def hypothesis(self, labels: Sequence[str]) -> Labels:
        """The clean form of what a model has recognised; it may be empty."""
        return self._own(labels if self.preset is None else _PRESETS[self.preset].hypothesis(labels))

    def without_effect(self, references: Iterable[Sequence[str]]) -> Labels:
        """The glosses of `replace` and `drop` that none of some references holds once the preset was applied."""
        clean = references if self.preset is None else map(_PRESETS[self.preset].reference, references)
        return tuple(sorted((self.replace.keys() | set(self.drop)).difference(*clean)))

    def _own(self, labels: Sequence[str]) -> Labels:
        dropped = set(self.drop)
        return tuple(
            part for label in labels if label not in dropped for part in self.replace.get(label, label).split()
        )

    @property
    def told(self) -> str:
        """What it does, for a note."""
        parts = [f"preset {self.preset}"] if self.preset else []
        parts += [f"replace {len(self.replace)}"] if self.replace else []
        parts += [f"drop {len(self.drop)}"] if self.drop else []
        return ", ".join(parts)


@dataclass(frozen=True)
class _Preset:
    reference: Callable[[Sequence[str]], Labels]
    hypothesis: Callable[[Sequence[str]], Labels]


Rules = tuple[tuple[re.Pattern[str], str], ...]


def _rules(*rules: tuple[str, str]) -> Rules:
    # To the scripts a letter beyond ASCII is no part of a word.
    return tuple((re.compile(pattern, re.ASCII), into) for pattern, into in rules)


def _rewritten(labels: Sequence[str], rules: Rules) -> Labels:
    """A line of glosses after some rules. Where one removes a gloss, two blanks are left, across which none joins."""
    line = " " + " ".join(labels)
    for pattern, into in rules:
        line = pattern.sub(into, line)
    return tuple(line.split())


# Letters that are spelled one after the other become one gloss: A B C -> A+B+C. A rule passes over each blank once, so
# that it takes several passes; SCH and NN are spelled as one letter.
_SPELLING = (
    (r"[ +]([A-Z]) ([A-Z]) ", r" \1+\2 "),
    *[(r"([ +][A-Z]) ([A-Z][ +])", r"\1+\2")] * 3,
    (r"([ +]SCH) ([A-Z][ +])", r"\1+\2"),
    (r"([ +]NN) ([A-Z][ +])", r"\1+\2"),
    (r"([ +][A-Z]) (NN[ +])", r"\1+\2"),
    (r"([ +][A-Z]) ([A-Z])$", r"\1+\2"),
)
# A sign that is repeated counts once: REGEN REGEN -> REGEN. A pass halves what is left.
_REPEATS = [(r"(?<![\w-])([A-Z]+)(?![\w-]) \1(?![\w-])", r"\1")] * 4

_RULES_2014 = _rules(
    (r"[^ ]*__EPENTHESIS__[^ ]*", ""),
    # Where a sign is made, a classifier, a question, a possessive, the left hand.
    *[(prefix, "") for prefix in ("loc-", "cl-", "qu-", "poss-", "lh-")],
    ("S0NNE", "SONNE"),
    ("HABEN2", "HABEN"),
    ("__(?:EMOTION|PU|LEFTHAND)__", ""),
    ("WIE AUSSEHEN", "WIE-AUSSEHEN"),
    (r"ZEIGEN(?= |$)", "ZEIGEN-BILDSCHIRM"),
    *_SPELLING,
    (r"([A-Z][A-Z])RAUM", r"\1"),
    ("-PLUSPLUS", ""),
    *_REPEATS,
)

_RULES_2014T = _rules(
    *[(pattern, "") for name in ("LEFTHAND", "EPENTHESIS", "EMOTION") for pattern in (f"__{name}__ ", f" __{name}__")],
    (r"\b__[^_ ]*__\b", ""),
    (r"\bloc-([^ ]*)\b", r"\1"),
    (r"\bcl-([^ ]*)\b", r"\1"),
    (r"\b([^ ]*)-PLUSPLUS\b", r"\1"),
    (r"\b([A-Z]+)RAUM\b", r"\1"),
    ("WIE AUSSEHEN", "WIE-AUSSEHEN"),
    *_SPELLING,
    *_REPEATS,
)
_GLOSS_2014T = _rules(
    (".*__(?:LEFTHAND|EPENTHESIS|EMOTION)__.*", ""),
    (" __[^_ ]*__$", ""),
    ("^ loc-", " "),
    ("-PLUSPLUS$", ""),
    ("^ cl-", " "),
    (r"\b([A-Z]+)RAUM$", r"\1"),
)


def _reference_2014(labels: Sequence[str]) -> Labels:
    return _rewritten(labels, _RULES_2014)


def _hypothesis_2014(labels: Sequence[str]) -> Labels:
    return tuple(part for label in labels for part in _rewritten([label], _RULES_2014))


def _reference_2014t(labels: Sequence[str]) -> Labels:
    return _rewritten(labels, _RULES_2014T)


def _hypothesis_2014t(labels: Sequence[str]) -> Labels:
    clean = (part for label in labels for part in _rewritten([label], _GLOSS_2014T))
    return tuple(label for label, _ in groupby(clean))


_PRESETS = {
    "phoenix2014": _Preset(_reference_2014, _hypothesis_2014),
    "phoenix2014T": _Preset(_reference_2014t, _hypothesis_2014t),
}
