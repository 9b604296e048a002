"""What to do about a file that is no feature file."""

from pathlib import Path

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv")
"""Files that landmarks are extracted from."""
CONVERT = "slr-sweep convert SOURCE --out data/"
"""Makes a folder that the source landmarks reads of data in other formats."""


def advice(path: Path) -> str:
    """How to make features of a file that is of no known kind."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return "a video has none before its landmarks are extracted: slr-sweep landmarks VIDEOS --out data/"
    return f"use .npz, .npy, .parquet or .pose; other formats become such files with {CONVERT}"
