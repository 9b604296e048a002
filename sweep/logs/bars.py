"""Progress bars that draw themselves again on a line of their own: of each step, the last line counts."""

import re
from collections.abc import Iterable, Iterator, Sequence

_KERAS = re.compile(r"\b(?P<count>\d+)/(?P<total>\d+) (?:\[[=>.]{5,}\]|\u2501{5,})")
_VALUE = re.compile(r"[:=] *[-+.\dni]")


def has_bars(content: str) -> bool:
    """Whether a text has any, as the usual programs draw them."""
    return "%|" in content or "[=" in content or "\u2501" in content


def last_of_each(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Number and text of the lines, without those that a later line of the same bar replaces.

    tqdm prints a step twice: with the values before it, and with its own. Keras prints the line of an epoch once before
    it is full, where most of its redrawings were lost on the way to the file.
    """
    every = list(lines)
    replaced = {*_replaced_by_tqdm(every), *_replaced_by_keras(every)}
    return (line for place, line in enumerate(every) if place not in replaced)


def _replaced_by_tqdm(lines: Sequence[tuple[int, str]]) -> Iterator[int]:
    before, place_before = ("", ""), 0
    for place, (_, line) in enumerate(lines):
        if not line.strip():
            continue
        bar = _tqdm(line)
        if bar == before and bar[1]:
            # What adds nothing but takes something away is another line.
            if len(_VALUE.findall(line)) >= len(_VALUE.findall(lines[place_before][1])):
                yield place_before
        before, place_before = bar, place


def _tqdm(line: str) -> tuple[str, str]:
    """What a bar is called, and its count of its total; empty where there is none."""
    begin = line.find("%|")
    middle = line.find("| ", begin + 2)
    end = line.find(" [", middle)
    return (line[:begin].rstrip("0123456789 "), line[middle + 2 : end]) if 0 <= begin < middle < end else ("", "")


def _replaced_by_keras(lines: Sequence[tuple[int, str]]) -> Iterator[int]:
    unfinished: list[tuple[str, int]] = []
    for place, (_, line) in enumerate(lines):
        found = _KERAS.search(line) if "[=" in line or "\u2501" in line else None
        if found is None:
            continue
        count, total = found.groups()
        if count != total or "ETA" in line:
            unfinished = [bar for bar in unfinished if bar[0] == total]
            unfinished.append((total, place))
            continue
        if len(unfinished) == 1 and unfinished[0][0] == total:
            yield unfinished[0][1]
        unfinished = []
