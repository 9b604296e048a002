"""slr-sweep convert SOURCE --out data/: data in other formats as a folder that the source landmarks reads."""

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.command_line import EXIT_DONE, Command, console

if TYPE_CHECKING:
    from slr_models.convert.conversion import Conversion
    from slr_models.convert.summary import Summary

FORMATS = ("torch", "hdf5", "mat", "pickle", "openpose", "mediapipe", "gislr", "features")


def add_list(parser: argparse.ArgumentParser) -> None:
    """Adds the list of labels (`labels`, `labels_columns`, `label_separator`, `trust`), and how splits are made."""
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="a CSV file with a column for the name and one for the labels (and others for the signer and the split), "
        "or the folder with the labels of CE-CSL or CSL-Daily",
    )
    parser.add_argument(
        "--labels-columns",
        metavar="role=column,...",
        default="",
        help="which columns to read of the CSV file, if they are not found: name=...,labels=...,signer=...,split=...",
    )
    parser.add_argument(
        "--label-separator",
        metavar="TEXT",
        help="what is between the labels of a text, such as '/' or ' '; else what all texts show",
    )
    parser.add_argument(
        "--trust", action="store_true", help="load pickles, which runs whatever code they hold: if you know their maker"
    )
    parser.add_argument(
        "--valid-rate",
        type=float,
        default=0.1,
        metavar="RATE",
        help="share to validate on where no split is told, by whole signers where all are known (default 0.1)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of that choice (default 0)")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="a file or a folder: .pt, .h5, .mat, pickles, OpenPose's or MediaPipe's JSON, Kaggle's isolated signs, "
        ".pose or other feature files",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the folder to make")
    parser.add_argument("--format", choices=FORMATS, help="the format of the source, where its files do not show it")
    add_list(parser)
    parser.add_argument(
        "--on-bad",
        choices=("error", "exclude"),
        default="error",
        help="a bad utterance ends the conversion (error, the default), or is left out and counted (exclude)",
    )


def _work(options: argparse.Namespace) -> int:
    from slr_models.convert.conversion import convert

    settings = settings_of(options, options.source)
    screen = console()
    with screen.status("reading") as status:
        summary = convert(settings, lambda count: status.update(f"{count} utterances"))
    for line in lines(summary):
        screen.print(line, highlight=False)
    return EXIT_DONE


def settings_of(options: argparse.Namespace, source: Path) -> "Conversion":
    """What a user said of a conversion.

    Raises:
        SettingError: a value is none that the setting takes.
    """
    from pydantic import ValidationError

    from slr_models.convert.conversion import Conversion
    from slr_models.errors import SettingError
    from sweep.study.messages import explained

    content = {name: value for name, value in vars(options).items() if name in Conversion.model_fields}
    content |= {"source": source, "labels_columns": _columns(options.labels_columns)}
    try:
        return Conversion.model_validate(content)
    except ValidationError as error:
        raise SettingError(*explained(error, Conversion, content)) from error


def _columns(text: str) -> dict[str, str]:
    """Roles and columns as a user writes them: name=video,labels=gloss.

    Raises:
        SettingError: it is written otherwise, or names another role.
    """
    from slr_models.convert.lists import ROLES
    from slr_models.errors import SettingError

    found = {}
    # A column's own name may hold a comma.
    for word in re.split(rf",(?=(?:{'|'.join(ROLES)})=)", text) if text else []:
        role, equals, column = word.partition("=")
        if not equals or role.strip() not in ROLES:
            raise SettingError(
                f"--labels-columns {word}: write role=column, where the role is one of {', '.join(ROLES)}"
            )
        found[role.strip()] = column.strip()
    return found


def lines(summary: "Summary") -> list[str]:
    """What a conversion found, what a study says of the folder, and what comes next."""
    from sweep import yaml_source
    from sweep.wording import percent, plural

    measured, total = summary.measured, sum(summary.utterances.values())
    frames = sorted(measured.frames)
    splits = ", ".join(f"{count} {split}" for split, count in summary.utterances.items())
    signers = plural(summary.num_signers, "signer") if summary.num_signers else "signers not told"
    told = [
        f"{summary.out}: {plural(total, 'utterance')} ({splits}), {signers}, {plural(summary.num_labels, 'label')}",
        f"frames: {frames[0]} to {frames[-1]}, median {frames[len(frames) // 2]}; a frame is {list(measured.shape)}",
    ]
    told += [
        f"{hand.replace('_', ' ')}: not seen in {percent(count / sum(frames))} of the frames"
        for hand, count in sorted(measured.unseen.items())
    ]
    if measured.num_nan:
        told.append(f"missing (NaN): {percent(measured.num_nan / measured.num_values, 1)} of the values")
    told += [f"left out: {count} ({reason})" for reason, count in sorted(summary.exclusions.items())]
    told += [f"note: {note}" for note in summary.notes]
    settings = yaml_source.dump({"data": summary.settings}).rstrip()
    return [*told, "", "in a study:", *settings.splitlines(), "", "next: slr-sweep check STUDY.yaml"]


COMMAND = Command(
    name="convert",
    summary="bring data in other formats into a folder that a study reads",
    description="Write a folder with manifest.csv and feature files, as a study's data: {kind: landmarks} reads it, of "
    "data in other formats. The folder appears when all of it is written, or not at all.",
    add_arguments=_add_arguments,
    work=_work,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
