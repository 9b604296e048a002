"""Fingerspelled words, composed from the real letter clips in the PyPI package spoken-to-signed.

The clips are MediaPipe Holistic landmarks, one recording a letter and sign language. Words are spelled by joining
letter clips with transitions; each utterance is augmented anew.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from slr_models.data.batch import BLANK_TOKEN, DataFacts, Dataset
from slr_models.data.compose import Augmentation, Rendering, Script, render
from slr_models.data.layout import HOLISTIC, Clip, PointSet
from slr_models.data.lexicon import Lexicon, find_lexicon, read_letter
from slr_models.data.normalize import select, selected_layout
from slr_models.data.words import Spelling, english_words, frequent_letters, random_spellings, spelled_with
from slr_models.errors import DataError
from slr_models.spec import Spec

# Tags of random streams.
_TRAIN, _VALID, _SPELLINGS, _ORDER, _PHRASES = range(5)


class FingerspellingConfig(Spec):
    """Real letter clips joined into words; validation words are never trained on."""

    kind: Literal["fingerspelling"] = "fingerspelling"
    """Selects this source."""
    signed_language: str = "ase"
    """Whose letters: a code of the clip index, such as ase (American) or gsg (German)."""
    valid_languages: tuple[str, ...] = ()
    """Sign languages whose clips the validation split uses instead, in turn; empty: the training clips."""
    letters: tuple[str, ...] = ()
    """The alphabet; empty: the `alphabet_size` letters that the words use most."""
    alphabet_size: int = Field(default=10, ge=1, le=1000)
    """How many letters where `letters` is empty; the vocabulary without the blank."""
    spelling: Literal["english", "random"] = "english"
    """English words of a shipped list, or random letter strings (for alphabets that English lacks)."""
    num_train: int = Field(default=800, ge=1, le=1_000_000)
    """Training utterances."""
    num_valid: int = Field(default=100, ge=1, le=1_000_000)
    """Validation utterances."""
    valid_word_rate: float = Field(default=0.2, gt=0, lt=1)
    """Share of the distinct words that only the validation split uses; (0, 1)."""
    min_letters: int = Field(default=3, ge=1, le=1000)
    """Fewest letters of a word."""
    max_letters: int = Field(default=6, ge=1, le=1000)
    """Most letters of a word."""
    max_words: int = Field(default=1, ge=1, le=1000)
    """Words of an utterance: uniform in 1..max_words. Word boundaries have no label of their own."""
    frames_per_letter: int | None = Field(default=14, ge=2, le=10_000)
    """Mean frames of a letter, without transition; None keeps the recording's length (median 25)."""
    transition_frames: int = Field(default=4, ge=0, le=10_000)
    """Frames from one letter to the next; twice as many between words."""
    frames_per_output: int = Field(default=4, ge=1, le=1000)
    """Input frames an output frame of the model (its stride); utterances are slowed down where CTC needs it."""
    points: PointSet = "hands_pose"
    """Which landmarks become features."""
    velocity: bool = True
    """Whether differences of neighbouring frames are stacked on the positions."""
    augmentation: Augmentation = Augmentation()
    """How much utterances vary."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random here."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_letters > self.max_letters:
            raise ValueError(f"min_letters ({self.min_letters}) must not exceed max_letters ({self.max_letters})")
        # Not whether it was given: a recipe states the defaults too.
        if self.letters and self.alphabet_size != type(self).model_fields["alphabet_size"].default:
            raise ValueError("give either letters or alphabet_size: explicit letters leave no size to choose")
        if len(set(self.letters)) < len(self.letters):
            raise ValueError(f"letters must differ, but got {list(self.letters)}")
        return self

    def build(self) -> Dataset:
        """Reads the letter clips and composes both splits.

        Raises:
            DataError: The package with the clips is missing, or it lacks a language or a letter, or too few words
                can be spelled.
        """
        lexicon = find_lexicon()
        languages = self.valid_languages or (self.signed_language,)
        alphabet = self._alphabet(lexicon)
        train_words, valid_words = self._split_words(alphabet)
        layout = selected_layout(HOLISTIC, self.points)
        clips = {
            language: {letter: self._clip(lexicon, language, letter) for letter in alphabet}
            for language in dict.fromkeys((self.signed_language, *languages))
        }
        rendering = Rendering(
            layout=layout,
            points=self.points,
            velocity=self.velocity,
            frames_per_clip=self.frames_per_letter,
            frames_per_output=self.frames_per_output,
            augmentation=self.augmentation,
        )
        label_of = {letter: label for label, letter in enumerate(alphabet, start=1)}

        def scripts(words: list[Spelling], count: int, stream: int, of: Sequence[str]) -> list[Script]:
            order = _cycle(len(words), np.random.default_rng((self.seed, _ORDER, stream)))
            made = []
            for index in range(count):
                language = of[index % len(of)]
                size = np.random.default_rng((self.seed, _PHRASES, stream, index)).integers(1, self.max_words + 1)
                phrase = [words[next(order)] for _ in range(size)]
                made.append(self._script(phrase, clips[language], label_of, f"{index}", language))
            return made

        train, stretched_train = render(
            scripts(train_words, self.num_train, _TRAIN, [self.signed_language]), rendering, self.seed, _TRAIN
        )
        valid, stretched_valid = render(
            scripts(valid_words, self.num_valid, _VALID, languages), rendering, self.seed, _VALID
        )
        return Dataset(
            train=train,
            valid=valid,
            vocabulary=(BLANK_TOKEN, *alphabet),
            groups=rendering.groups,
            facts=self._facts(lexicon.version, len(train_words), len(valid_words), stretched_train + stretched_valid),
        )

    def _alphabet(self, lexicon: Lexicon) -> tuple[str, ...]:
        """The letters to use, checked against every language that has to provide them."""
        languages = dict.fromkeys((self.signed_language, *self.valid_languages))
        available = list(lexicon.letters(self.signed_language))
        for language in languages:
            available = [letter for letter in available if letter in lexicon.letters(language)]
        if self.letters:
            missing = [letter for letter in self.letters if letter not in available]
            if missing:
                raise DataError(
                    f"No fingerspelling clip of the letters {missing} in sign language "
                    f"{' and '.join(languages)}; choose from {' '.join(available)}."
                )
            return self.letters
        if self.spelling == "random":
            chosen = tuple(available[: self.alphabet_size])
        else:
            words = english_words(self.min_letters, self.max_letters)
            chosen = frequent_letters(words, available, self.alphabet_size)
        if len(chosen) < self.alphabet_size:
            raise DataError(
                f"alphabet_size is {self.alphabet_size}, but {' and '.join(languages)} has clips of only "
                f"{len(chosen)} usable letters with spelling: {self.spelling}; reduce alphabet_size"
                + ("" if self.spelling == "random" else ", or set spelling: random")
                + "."
            )
        return chosen

    def _split_words(self, alphabet: tuple[str, ...]) -> tuple[list[Spelling], list[Spelling]]:
        """Distinct words for training and for validation, in random order."""
        rng = np.random.default_rng((self.seed, _SPELLINGS))
        if self.spelling == "random":
            wanted = (self.num_train + self.num_valid) * self.max_words
            words = random_spellings(alphabet, self.min_letters, self.max_letters, wanted, rng)
        else:
            words = spelled_with(english_words(self.min_letters, self.max_letters), alphabet)
        if len(words) < 10:
            raise DataError(
                f"Only {len(words)} words of {self.min_letters} to {self.max_letters} letters can be spelled with "
                f"{' '.join(alphabet)}, and a split needs at least 10; use more letters, other word lengths"
                + ("." if self.spelling == "random" else ", or spelling: random.")
            )
        shuffled = [words[i] for i in rng.permutation(len(words))]
        num_valid = max(1, round(self.valid_word_rate * len(words)))
        return shuffled[num_valid:], shuffled[:num_valid]

    def _clip(self, lexicon: Lexicon, language: str, letter: str) -> Clip:
        return select(read_letter(lexicon, language, letter), HOLISTIC, self.points)

    def _script(
        self, phrase: list[Spelling], clips: dict[str, Clip], label_of: dict[str, int], name: str, language: str
    ) -> Script:
        letters = [letter for word in phrase for letter in word]
        transitions: list[int] = []
        for word in phrase:
            transitions += [self.transition_frames] * (len(word) - 1) + [2 * self.transition_frames]
        return Script(
            clips=tuple(clips[letter] for letter in letters),
            transitions=tuple(transitions[:-1]),
            labels=tuple(label_of[letter] for letter in letters),
            id=f"{language}-{name}-{'-'.join(''.join(word) for word in phrase)}",
            signer=language,
        )

    def _facts(self, version: str, num_train_words: int, num_valid_words: int, stretched: int) -> DataFacts:
        if self.valid_languages:
            measures = (
                f"Spellings that were never trained on, signed with the letter clips of "
                f"{', '.join(self.valid_languages)}: transfer to other sign languages' hand shapes, which differ "
                "for some letters. It does not measure new recordings of the training language."
            )
        else:
            measures = (
                "Spellings that were never trained on, composed from the same one recording a letter under new "
                "augmentation of the same strength: composition, not new signers or new recordings."
            )
        notes = [f"{num_train_words} distinct training words, {num_valid_words} validation words"]
        notes.append(
            "letter clips keep their recorded frames (24 to 30 a second)"
            if self.frames_per_letter is None
            else f"letter clips are resampled to {self.frames_per_letter} frames on average"
        )
        if stretched:
            notes.append(f"{stretched} utterances were slowed down so that CTC can align their target")
        return DataFacts(
            source=f"real fingerspelled letters ({self.signed_language}) of spoken-to-signed {version}, "
            "joined into words",
            valid_measures=measures,
            notes=tuple(notes),
        )


def _cycle(size: int, rng: np.random.Generator) -> Iterator[int]:
    """Endless random order in which every position comes equally often."""
    while True:
        yield from rng.permutation(size).tolist()
