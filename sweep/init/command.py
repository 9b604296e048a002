"""slr-sweep init SOURCE: writes a study to begin with, of data, a function, a command or a study that is there."""

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from slr_models.errors import UserError
from sweep.command_line import EXIT_DONE, Command, loading, local

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweep.study.shipped import ShippedStudy

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*")
_NO_WORD = re.compile(r"\W+")
_MAX_DEFAULT_NAME = 60
_KINDS = (
    "give a folder of data, a function as module:function, a command behind -- (slr-sweep init -- python train.py --lr "
    "{lr}), or a study of slr-sweep init --list"
)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="*",
        metavar="SOURCE",
        help="a folder of landmarks or features, module:function, the name of a study to copy, or -- and a command "
        "with its settings in braces: -- python train.py --lr {lr}",
    )
    parser.add_argument("--list", action="store_true", help="show the studies that come with this program")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the file to write; default: NAME.yaml")
    parser.add_argument("--name", help="of the study, and of its results folder; default: by the source")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument(
        "--seconds", type=float, default=45.0, metavar="S", help="of a folder: most time to train in (default 45)"
    )
    parser.add_argument("--no-ramp", action="store_true", help="of a folder: do not measure the learning rates")


def _work(options: argparse.Namespace) -> int:
    if options.list:
        from sweep.init.copying import list_lines

        print("\n".join(list_lines()))
        return EXIT_DONE
    words: list[str] = options.source
    if not words or words == [""]:
        raise UserError(f"there is nothing to begin with: {_KINDS}")
    if not options.seconds > 0:
        raise UserError(f"--seconds {options.seconds:g}: give a time above 0")
    if len(words) > 1:
        return _of_command(options, words)
    (source,) = words
    if _FUNCTION.fullmatch(source) and not Path(source).exists():
        return _of_function(options, source)
    if Path(source).is_dir():
        return _of_data(options, local(Path(source)))
    if re.search(r"\s", source) and not Path(source).exists():
        return _of_command(options, _split(source))
    from sweep.study.shipped import shipped

    known = shipped().get(source)
    if known is not None:
        return _of_shipped(options, known)
    raise UserError(_not_found(source))


def _not_found(source: str) -> str:
    from sweep.study.shipped import meant_by

    if Path(source).exists():
        return f"{source} is a file, and no folder of data: {_KINDS}"
    meant = meant_by(source)
    return f"there is no folder {source}, and no study of that name: {meant}{'Else ' if meant else ''}{_KINDS}"


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError(f"{text} cannot be split into words ({error}): close its quotation") from error


def _place(options: argparse.Namespace, default_name: str) -> tuple[str, Path]:
    """Name and file of the study.

    Raises:
        UserError: the file is there already.
    """
    from sweep.init.writing import check_free
    from sweep.study.checks import unfit_for_a_folder
    from sweep.study.settings import MAX_NAME

    name = options.name or _NO_WORD.sub("_", default_name).strip("_")[:_MAX_DEFAULT_NAME] or "study"
    if (wrong := unfit_for_a_folder(name)) is not None:
        if options.name is not None:
            raise UserError(f"--name {name!r}: it names a folder, too: {wrong}")
        name = f"{name}_study"
    if len(name) > MAX_NAME:
        raise UserError(f"--name has {len(name)} letters: give {MAX_NAME} at most")
    out = options.out or Path(f"{_NO_WORD.sub('_', name).strip('_')}.yaml")
    check_free(out, force=options.force)
    return name, out


def _of_shipped(options: argparse.Namespace, study: "ShippedStudy") -> int:
    from sweep.init.copying import copy

    if options.name is not None:
        raise UserError(f"--name {options.name}: a copy keeps its name; change it in the file")
    out = options.out or Path(study.path.name)
    written = copy(study, out, force=options.force)
    return _next(written, f"takes {study.time}" if study.time.startswith("less") else study.time)


def _of_function(options: argparse.Namespace, target: str) -> int:
    name, out = _place(options, target.partition(":")[0].rpartition(".")[2])
    from sweep.init.functions import function_files
    from sweep.init.writing import write_study

    # A module's name begins with a letter.
    stem = re.sub(r"^(?![A-Za-z_])", "study_", f"{_NO_WORD.sub('_', out.stem)}_study")
    files = function_files(target, name, stem)
    beside = None if files.adapter is None else {out.with_name(f"{stem}.py"): files.adapter}
    written = write_study(out, files.study, force=options.force, beside=beside)
    lacking = f"give {', '.join(files.lacking)}, which it reads without a default, in trial.config of {out}"
    return _next(written, first=lacking if files.lacking else "")


def _of_command(options: argparse.Namespace, words: list[str]) -> int:
    if not words:
        raise UserError(f"there is nothing to begin with: {_KINDS}")
    script = next((Path(word).stem for word in words[1:] if Path(word).suffix), Path(words[0]).name)
    name, out = _place(options, script)
    from sweep.init.commands import command_study
    from sweep.init.writing import write_study

    return _next(write_study(out, command_study(words, name), force=options.force))


def _of_data(options: argparse.Namespace, folder: Path) -> int:
    name, out = _place(options, folder.resolve().name)
    with loading():
        from sweep.init.landmarks import data_study
        from sweep.init.writing import write_study

    # A path is looked for from where a study is started, and then beside its file.
    is_here = out.absolute().parent == Path.cwd()
    path = str(folder if is_here or folder.is_absolute() else folder.absolute())
    text = data_study(
        folder,
        name,
        path,
        seconds=options.seconds,
        has_ramps=not options.no_ramp,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    return _next(write_study(out, text, force=options.force))


def _next(written: "Sequence[Path]", time: str = "", first: str = "") -> int:
    """Says which files there are now, the study first, and what follows."""
    print(*written, sep="\n")
    if first:
        print(f"first: {first}")
    study = str(written[0])
    # What begins with - is an option.
    file = shlex.quote(f"./{study}" if study.startswith("-") else study)
    print(f"next: slr-sweep check {file}, then slr-sweep run {file}{f' ({time})' if time else ''}")
    return EXIT_DONE


COMMAND = Command(
    name="init",
    summary="write a study to begin with, of your data, function or command",
    description="Write a study file to begin with, each setting with its reason: of a folder of data, which is read, "
    "and on which a few trainings are measured; of a function or a command of your own, which is not run; or a copy of "
    "a study that comes with this program.",
    add_arguments=_add_arguments,
    work=_work,
)
main = COMMAND.main
