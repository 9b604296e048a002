"""slr-sweep landmarks VIDEOS --out data/: MediaPipe Holistic's landmarks of videos, as a folder that a study reads."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.command_line import EXIT_DONE, EXIT_MISTAKE, Command, console
from sweep.convert import add_list, settings_of

if TYPE_CHECKING:
    from rich.console import Console

    from slr_models.extraction.videos import Video


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "videos", type=Path, metavar="VIDEOS", help="a video, or a folder of videos or of folders with an image a frame"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="the folder to fill; what is done is not done again"
    )
    parser.add_argument(
        "--python",
        type=Path,
        default=Path(sys.executable),
        metavar="PYTHON",
        help="the interpreter of the environment with MediaPipe, such as mediapipe-env/bin/python (default: this one)",
    )
    add_list(parser)


def _work(options: argparse.Namespace) -> int:
    from slr_models.convert.folder import write_manifest
    from slr_models.convert.lists import read_list
    from slr_models.data.index import MANIFEST
    from slr_models.extraction.videos import find_videos, ids_in, labelled, seen_in, unlabelled
    from sweep.store.files import atomic_path
    from sweep.wording import percent, plural

    settings = settings_of(options, options.videos)
    videos = find_videos(options.videos)
    manifest: Path = options.out / MANIFEST
    # Before the hours that the videos take.
    if settings.labels is not None:
        listed = read_list(settings.labels, settings.labels_columns, settings.trust)
        labelled(videos, listed, settings)
    known = ids_in(manifest) if manifest.is_file() else None
    screen = console()
    failed = _extract(screen, videos, options.out, options.python)
    done = [video for video in videos if video not in failed]
    for video in done:
        seen = seen_in(options.out / video.file)
        hands = ", ".join(f"{name.replace('_', ' ')} seen in {percent(rate)}" for name, rate in seen.hands.items())
        told = "no person seen: leave it out" if seen.is_empty else hands
        screen.print(f"{video.id}: {plural(seen.num_frames, 'frame')}, {told}", highlight=False)
    if settings.labels is not None and done:
        entries, notes = labelled(done, listed, settings)
        with atomic_path(manifest) as temporary:
            write_manifest(temporary, entries)
        for note in notes:
            screen.print(f"note: {note}", highlight=False)
        data = f"data: {{kind: landmarks, path: {options.out}, points: hands_pose}}"
        screen.print(f"{manifest}: {plural(len(entries), 'utterance')}; in a study: {data}", highlight=False)
        screen.print("next: slr-sweep check STUDY.yaml", highlight=False)
    elif done:
        new = [unlabelled(video) for video in done if video.id not in (known or ())]
        write_manifest(manifest, new, behind=known is not None)
        screen.print(
            f"{manifest}: {plural(len(new), 'new line')} without labels; write them in (apart by spaces), with signer "
            "and split (train, valid or test), or give the command again with --labels FILE",
            highlight=False,
        )
    for why in failed.values():
        print(f"error: {why}", file=sys.stderr)
    return EXIT_MISTAKE if failed else EXIT_DONE


def _extract(screen: "Console", videos: "Sequence[Video]", out: Path, python: Path) -> "dict[Video, str]":
    """Extracts what is not there yet; returns the videos that cannot be read, and why."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from slr_models.extraction.worker import VideoError, worker
    from sweep.wording import plural

    missing = [video for video in videos if not (out / video.file).is_file()]
    if len(missing) < len(videos):
        screen.print(f"{plural(len(videos) - len(missing), 'video')} done before", highlight=False)
    failed: dict[Video, str] = {}
    if not missing:
        return failed
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=screen
    )
    with worker(python) as process, bar:
        screen.print(f"MediaPipe {process.version}", highlight=False)
        every = bar.add_task("videos", total=len(missing))
        for video in missing:
            one = bar.add_task(video.id, total=None)
            (out / video.file).parent.mkdir(parents=True, exist_ok=True)
            try:
                frames, promised = process.extract(
                    video.path,
                    out / video.file,
                    lambda frame, frames, one=one: bar.update(one, completed=frame, total=frames or None),  # type: ignore[misc]
                )
                if frames < promised:
                    screen.print(f"{video.id}: ends after {frames} of {promised} frames; is the file whole?")
            except VideoError as error:
                failed[video] = str(error)
            bar.remove_task(one)
            bar.advance(every)
    return failed


COMMAND = Command(
    name="landmarks",
    summary="extract the landmarks of videos with MediaPipe Holistic",
    description="Extract the landmarks of videos with MediaPipe Holistic, which is installed in an environment of its "
    "own, into a folder that a study's data: {kind: landmarks} reads. Given again, the command goes on where it ended.",
    add_arguments=_add_arguments,
    work=_work,
    interrupted="interrupted: the same command goes on with the videos that are left",
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
