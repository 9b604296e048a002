"""Lists of labels beside the features: a CSV of any columns, and those of CSL-Daily and CE-CSL.

| list     | the files                                                                                  |
|----------|--------------------------------------------------------------------------------------------|
| CSV      | a column for the name and one for the labels; others for the signer and the split          |
| CE-CSL   | train.csv, dev.csv, test.csv: Number,Translator,Chinese Sentences,Gloss,Note ("/" in Gloss) |
| CSL-Daily | video_map.txt (index|name|length|gloss|...) or csl2020ct_v1.pkl, and split_1.txt (name|split) |
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from slr_models.convert.labels import labels_in
from slr_models.convert.pickles import load
from slr_models.convert.utterance import Labels
from slr_models.data.index import SPLITS, SUFFIXES
from slr_models.data.kinds import VIDEO_SUFFIXES
from slr_models.data.reading import csv_lines, parsing
from slr_models.errors import DataError

ROLES: dict[str, tuple[str, ...]] = {
    "name": ("id", "name", "video_id", "video_name", "video", "file", "filename", "path", "utterance", "utt_id",
             "sentence_name", "sequence_id", "uid", "number"),
    "labels": ("labels", "label", "glosses", "gloss", "sign", "annotation", "orth", "phrase", "word"),
    "signer": ("signer", "signer_id", "speaker", "participant_id", "participant", "translator", "user"),
    "split": ("split", "subset", "partition", "set"),
}  # fmt: skip
"""What a column is read as, by its name in any case; the first that a file has counts."""
_CE_CSL = ("Number", "Translator", "Gloss")
_CSL_MAP, _CSL_PICKLES, _CSL_SPLITS = "video_map.txt", "csl2020ct_v*.pkl", "split_*.txt"
_CSL_SIGNER = re.compile(r"S\d+_P(\d+)_T\d+")
_MEDIA = (*SUFFIXES, *VIDEO_SUFFIXES)


@dataclass(frozen=True)
class Row:
    """What a list says of an utterance."""

    name: str
    labels: Labels | None
    signer: str
    split: str
    where: str


@dataclass
class LabelList:
    """The lines of a list, found by the names of utterances."""

    rows: tuple[Row, ...]
    separator: str | None
    """What the format has between labels; None: what its texts show."""
    told: str
    """Which columns were read, for the user."""
    used: set[str] = field(default_factory=set)
    """Names that were asked for."""

    def __post_init__(self) -> None:
        self._named: dict[str, list[Row]] = defaultdict(list)
        self._meant: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            self._named[row.name].append(row)
            for alias in _aliases(row.name):
                self._meant[alias].append(row)

    def find(self, name: str) -> Row | None:
        """The line of an utterance, by its name, or by the last part of it without a suffix.

        Raises:
            DataError: several lines could be meant.
        """
        for rows in (self._named.get(name), *(self._meant.get(alias) for alias in _aliases(name))):
            if rows and len(rows) > 1:
                raise DataError(f"is named by {rows[0].where} and by {rows[1].where}; keep one of them")
            if rows:
                self.used.add(rows[0].name)
                return rows[0]
        return None

    @property
    def unused(self) -> list[str]:
        """Names without features."""
        return [row.name for row in self.rows if row.name not in self.used]


def read_list(path: Path, columns: Mapping[str, str], trust: bool) -> LabelList:
    """A list of labels.

    Args:
        path: its file, or the folder that holds CE-CSL's or CSL-Daily's.
        columns: role -> column, of a CSV whose columns are called otherwise.
        trust: whether pickles are loaded.

    Raises:
        DataError: there is none, or it lacks a column.
    """
    if path.is_dir():
        found = find_list(path, trust)
        if found is None:
            raise DataError(
                f"{path} holds no labels of CE-CSL (train.csv with the columns {', '.join(_CE_CSL)}) or CSL-Daily "
                f"({_CSL_MAP}); give the CSV file with the labels."
            )
        return found
    if path.match(_CSL_PICKLES) or path.name == _CSL_MAP:
        return _csl_daily(path, trust)
    rows, told, header = _table(path, columns)
    return LabelList(tuple(rows), "/" if _is_ce_csl(header) else None, told)


def find_list(folder: Path, trust: bool) -> LabelList | None:
    """The labels of CE-CSL or CSL-Daily that lie in a folder, or in its folder of labels."""
    for place in (folder, folder / "label", folder / "sentence_label"):
        lists = [path for split in SPLITS if (path := place / f"{split}.csv").is_file()]
        if lists and all(_is_ce_csl(_header(path)) for path in lists):
            every = [row for path in lists for row in _table(path, {})[0]]
            return LabelList(tuple(every), "/", f"CE-CSL's lists in {place}")
        if (place / _CSL_MAP).is_file():
            return _csl_daily(place / _CSL_MAP, trust)
        if pickles := sorted(place.glob(_CSL_PICKLES)):
            return _csl_daily(pickles[-1], trust)
    return None


def _table(path: Path, columns: Mapping[str, str]) -> tuple[list[Row], str, list[str]]:
    """The rows of a CSV, which columns they are of, and all columns."""
    header, lines = _rows_of(path)
    lower = [name.strip().lower() for name in header]
    place: dict[str, int] = {}
    for role, known in ROLES.items():
        if role in columns:
            if columns[role] not in header:
                raise DataError(f"{path} has no column {columns[role]!r}; it has {', '.join(header)}.")
            place[role] = header.index(columns[role])
        elif (name := next((name for name in known if name in lower), None)) is not None:
            place[role] = lower.index(name)
    for role in ("name", "labels"):
        if role not in place:
            raise DataError(
                f"{path} line 1: which column has the {role}? It has {', '.join(header)}; say it with "
                f"--labels-columns {role}=COLUMN."
            )
    split_of_file = path.stem.lower() if path.stem.lower() in SPLITS else ""
    rows = []
    for where, fields in lines:
        value = {role: fields[index].strip() for role, index in place.items()}
        split = value.get("split", split_of_file).lower()
        rows.append(Row(value["name"], value["labels"] or None, value.get("signer", ""), split, where))
    told = ", ".join(f"{role} of {header[index]!r}" for role, index in place.items())
    return rows, f"{path}: {told}", header


def _csl_daily(path: Path, trust: bool) -> LabelList:
    splits: dict[str, str] = {}
    if files := sorted(path.parent.glob(_CSL_SPLITS)):
        header, lines = _rows_of(files[0])
        if header[:2] != ["name", "split"]:
            raise DataError(f"{files[0]} line 1: the header is {'|'.join(header)!r}; write name|split.")
        splits = {fields[0].strip(): fields[1].strip().lower() for _, fields in lines}
    rows = []
    if path.suffix == ".pkl":
        with parsing(path, "replace it"):
            for index, item in enumerate(load(path, trust)["info"]):
                name, signer = str(item["name"]), item.get("signer", "")
                labels = labels_in(item["label_gloss"])
                rows.append(Row(name, labels, str(signer), splits.get(name, ""), f"{path}['info'][{index}]"))
    else:
        header, lines = _rows_of(path)
        if not {"name", "gloss"}.issubset(header):
            raise DataError(f"{path} line 1: the header is {'|'.join(header)!r}; write index|name|length|gloss|...")
        for where, fields in lines:
            name, gloss = fields[header.index("name")].strip(), fields[header.index("gloss")].strip()
            person = _CSL_SIGNER.fullmatch(name)
            rows.append(Row(name, gloss or None, person.group(1) if person else "", splits.get(name, ""), where))
    return LabelList(tuple(rows), " ", f"CSL-Daily's {path}" + (f" and {files[0]}" if files else ""))


def _rows_of(path: Path) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    """The header of a table, and where and what its lines are; the header tells what stands between fields."""
    first = _header(path, ",")[0]
    mark = next((mark for mark in ("|", "\t", ";") if mark in first), ",")

    def lines() -> Iterator[tuple[str, list[str]]]:
        for index, (number, fields) in enumerate(csv_lines(path, mark, quoting=mark != "|")):
            if index == 0 or not any(field.strip() for field in fields):
                continue
            if len(fields) != len(header):
                raise DataError(
                    f"{path} line {number}: has {len(fields)} fields where the header has {len(header)}; correct the "
                    f"line (fields are separated by {mark!r})."
                )
            yield f"{path} line {number}", fields

    header = [name.strip() for name in _header(path, mark)]
    return header, lines()


def _header(path: Path, mark: str = ",") -> list[str]:
    return next(csv_lines(path, mark, quoting=mark != "|"), (0, [""]))[1] or [""]


def _is_ce_csl(header: Sequence[str]) -> bool:
    return set(_CE_CSL).issubset(header)


def _aliases(name: str) -> list[str]:
    """A name, then without the suffix of a medium, without its folders, and without both."""
    plain = name.replace("\\", "/")
    last = PurePosixPath(plain).name
    return list(dict.fromkeys((plain, _stem(plain), last, _stem(last))))


def _stem(name: str) -> str:
    return next((name[: -len(suffix)] for suffix in _MEDIA if name.lower().endswith(suffix)), name)
