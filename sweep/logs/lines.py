"""The numbers of one line of a text log, with their names."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from sweep.logs.choice import ColumnChoice
from sweep.logs.columns import SETS, is_bound, is_no_step, meaning_of, normal_form
from sweep.logs.facts import GLUED, NUMBER, Fact, Places
from sweep.logs.messages import messages_of, set_of

_WORD = r"[a-z][\w./-]*(?:'s)?"
_PAIR = re.compile(
    # Up to five words before a number; between them a separator, quotes, a bracket, or the name of a tensor's type. A
    # dash between spaces parts two statements, and what follows a slash is half a unit: `25/25 - 3s 120ms/step - loss`.
    rf"(?P<words>(?<![\w/.-]){_WORD}(?: +{_WORD}){{0,4}}?)"
    r"(?P<mark>(?:\s*\([^()=:]{0,24}\))?['\"]?\s*(?::=|[:=|]|=>|-->|->)\s*|['\"]?\s+(?:[:=]\s*)?|\s*\[\s*)"
    r"(?:['\"$]|(?:\w+\.)*(?:tensor|array|float(?:16|32|64))\(\s*(?:\[\s*)?)?"
    # A word of the next statement may be glued to it (`0.69passed`), and what is left of a number is none.
    rf"(?P<number>{NUMBER})(?!\.\d)(?:(?!\w)|{GLUED})(?!\s*(?:\u2192|->|=>)\s*[\d.])",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r"\s*(?:s|secs?|seconds?|m?secs?|ms|min|mins|minutes?|hours?)\b(?!\s*[:=]?\s*[-+.]?\d)", re.IGNORECASE
)
"""After a number that is a duration: `cost 12.5 s`; not `loss 3.1 ms 20`, whose unit is a name."""
_DURATIONS = frozenset("time times wall elapsed clock duration timing latency runtime".split())
"""Before a number that is one: MXNet's `Time cost=106.6`."""
_NUMBER = re.compile(NUMBER, re.IGNORECASE)
_COUNT = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_OF_TOTAL = re.compile(
    rf"(?P<before>[a-z]\w*\W{{0,3}})?(?<![\d.,/:-])(?P<first>{_COUNT})\s*/\s*(?P<second>{_COUNT})(?![\d.]|,\d|/|:\d)",
    re.IGNORECASE,
)
_EPOCH = re.compile(r"epochs?\W*$", re.IGNORECASE)
_WHOLE_EPOCH = re.compile(r"\d[mun]?s/(?:step|sample|epoch)(?![\w,\]])")
"""Keras gives the time a step once an epoch is over; its `25/25` are then the steps of each epoch. That of a tqdm bar
stands in brackets, and its `25/100` counts."""
_AFTER = re.compile(
    # Cost after iteration 100: 0.3; Training loss (for one batch) at step 200: 1.2.
    rf"(?P<name>(?:{_WORD} +){{0,2}}(?:loss|cost|error))(?: *\([^()]*\))? +(?:at|after|for|in|of|on|@) +(?:the +)?"
    rf"(?P<counter>step|iteration|iter|batch|update|epoch) *[#:=]? *(?P<count>{_COUNT}) *(?:[:=]|is|was) *"
    rf"(?P<number>{NUMBER})",
    re.IGNORECASE,
)
_BOOSTING = re.compile(r"^\s*\[(?P<iteration>\d+)\](?=\s)")
_ESPNET = re.compile(r"\b\d+epoch:train:\d+-(?P<batch>\d+)batch\b")
_DARKNET = re.compile(
    rf"^\s*(?P<step>\d+): (?P<loss>{NUMBER}), (?P<avg_loss>{NUMBER}) avg(?: loss)?, (?P<lr>{NUMBER}) rate",
    re.IGNORECASE,
)
_CATBOOST = re.compile(
    rf"^\s*(?P<iteration>\d+):\s+learn:? *(?P<loss>{NUMBER})(?:\s+test:? *(?P<val_loss>{NUMBER}))?", re.IGNORECASE
)
_TERSE = re.compile(r"^\s*s:(?P<step>\d+)(?=\s+\w+:)")
_EPOCH_MEAN = re.compile(r"\bEpoch\[\d+\]\s+$")
"""MXNet gives the mean of an epoch on a line without a batch."""
_EVALUATION_METRIC = re.compile(r"\bevaluation metric:?\s*['\"]?$", re.IGNORECASE)
"""So GluonTS calls the training loss, too."""
_KALDI = re.compile(
    r"average objective function for 'output'(?: for minibatches [\d-]+)? is (?P<negated_objective>-?[\d.]+|-?nan)",
    re.IGNORECASE,
)
"""Kaldi's objective is a log likelihood, which rises."""
_CAFFE = re.compile(r"train net output #\d+: ", re.IGNORECASE)
"""Caffe gives the outputs of the net once more, after the loss of the iteration."""
_MEAN_LINE = re.compile(
    # The mean of something else (`mean reward: -4.5, loss: 3`) is that number's alone.
    r"\b(?:averaged?|avg|mean|summary|overall|epoch results)\b(?!\s+\w+(?:[ _]\w+)?\s*[:=]\s*[-+.\d])",
    re.IGNORECASE,
)
_SETTINGS = re.compile(r"\b(?:namespace|\w*config|\w*arguments|args)\s*\(|--[a-z]", re.IGNORECASE)
_CODE = re.compile(
    r"^\s*(?:def |class |import |from \w+ import|return\b|if .*:\s*(?:#.*)?$|for .*:\s*$|#|print\()|"
    r"[\w\])] [-+*/]?= \w.*\($|f['\"]"
)
"""A line of a program that a log quotes."""
_WORTH = re.compile(
    r"loss|grad|norm|nan|inf|xent|nll|cost|entropy|overflow|scale|err|objective|learn|mse|mae|avg|step|iter|batch|lr|smoothl1|multiclass|huber|\bt[re]l:|\bl[12]:|\b[dg]_"
)
_PROGRESS = re.compile(r"\s*\[[-\s\d%#=>.]*\](?=\s)")
_GAP = re.compile(r"\s{2,}|\t")
_COLON_AFTER_COUNTER = re.compile(r"\w+:\s[^:]*$")
_HEADINGS = {"#": "step", "e": "epoch", "itn": "iteration"}
"""As spaCy calls them."""
_MOST_WORDS = 4
"""Of a name in a heading."""
_FILLERS = frozenset(
    "info debug warning warn error trainer train_inner log rank root the a an is was are of value at now".split()
)
_JOINTS = frozenset("with and while where has".split())
_TRAILERS = frozenset("is was are of value now".split())


def is_worth_reading(line: str, choice: ColumnChoice) -> bool:
    """Whether a line may say anything of a step."""
    return bool(_WORTH.search(line.lower())) or bool(choice.asked)


def header_of(line: str) -> tuple[str, ...] | None:
    """The names in a line that heads a table of numbers: `epoch train_loss valid_loss time`.

    Names may be of several words where two blanks or a tab part them and one of them is a counter: `epoch  train loss`.
    """
    if "loss" not in line.lower() and "nll" not in line.lower():
        return None
    bare = line[_progress_end(line) :].strip().lstrip("#").strip()
    if any(mark in bare for mark in "={[|,;") or (": " in bare and not _COLON_AFTER_COUNTER.match(bare)):
        return None
    names = _headings(_GAP.split(bare))
    if any(" " in name for name in names) and _may_head(names):
        return names if any(map(_counts, names)) and any(map(_is_loss, names)) else None
    names = _headings(bare.split())
    if not _may_head(names):
        return None
    for name in names:
        if ("_" in name or normal_form(name) == "loss") and _is_loss(name):
            return names
    return None


def _progress_end(line: str) -> int:
    """Where a line goes on after the mark of its progress: xLearn's `[   10%      ]     1     0.69`."""
    found = _PROGRESS.match(line)
    return found.end() if found else 0


def _headings(words: Iterable[str]) -> tuple[str, ...]:
    names = (word.strip().rstrip(":") for word in words)
    return tuple(_HEADINGS.get(name.lower(), name) for name in names if name)


def _may_head(names: Sequence[str]) -> bool:
    return (
        2 <= len(names) <= 20
        and len(set(names)) == len(names)
        and not any(name[0].isdigit() or len(name.split()) > _MOST_WORDS for name in names)
    )


def _counts(name: str) -> bool:
    meaning = meaning_of(name)
    return meaning is not None and meaning.field in ("step", "epoch")


def _is_loss(name: str) -> bool:
    meaning = meaning_of(name)
    return meaning is not None and meaning.field in ("loss", "val_loss")


def facts_of(line: str, pieces: Sequence[str], table: Sequence[str], choice: ColumnChoice) -> tuple[Fact, ...]:
    """What a line says; nothing where it tells of no step.

    Args:
        line: the line.
        pieces: the line parted at its numbers, these at the odd places.
        table: names of the columns, where the latest header was one of a table.
        choice: what the user asks for.
    """
    places = Places(pieces)
    if table and (row := _table_row(line, table, places, choice)):
        return row
    if _CODE.search(line):
        return ()
    facts: dict[str, Fact] = {}
    for name, number, start in _numbers(line, choice):
        key = normal_form(name)
        if key not in facts:
            fact = places.fact(key, name, number, start)
            facts[key] = fact.times(-1) if key == "negated_objective" else fact
    messages = messages_of(line, places, facts)
    told = (*facts.values(), *messages)
    if any(_tells_of_a_step(fact, choice) for fact in told):
        return told
    # A line that gives the number of the step, or its rate, for the lines around it.
    fields = {meaning.field for fact in told if (meaning := meaning_of(fact.name)) is not None} - {"reward"}
    return told if fields and fields <= {"step", "lr", "loss_scale"} and not messages else ()


def _tells_of_a_step(fact: Fact, choice: ColumnChoice) -> bool:
    """Whether a fact makes its line one that tells of a step or of an evaluation."""
    if fact.is_said:
        return fact.key in ("loss", "grad_norm", "loss_scale")
    meaning = meaning_of(fact.name)
    if meaning is not None and meaning.field in ("loss", "val_loss", "grad_norm"):
        return True
    return bool(choice.loss or choice.norm) and (meaning is None or meaning.field not in ("step", "reward"))


def _table_row(line: str, table: Sequence[str], places: Places, choice: ColumnChoice) -> tuple[Fact, ...]:
    """The numbers of a row under a header; nothing where the line is no such row."""
    words = [(found[0], found.start()) for found in re.compile(r"\S+").finditer(line, _progress_end(line))]
    if len(words) == len(table) + 2 and words[0][0] == "[" and words[-1][0] == "]":
        words = words[1:-1]
    if len(words) < len(table) or not words[0][0][0].isdigit():
        return ()
    facts = []
    for name, (word, start) in zip(table, words, strict=False):
        if not choice.wants(name):
            continue
        number = _NUMBER.match(word)
        if number is not None and number[0] == word.rstrip(":,"):
            facts.append(places.fact(normal_form(name), name, number[0], start))
        elif number is None or (meaning := meaning_of(name)) is None or meaning.field not in ("step", "epoch"):
            return ()
    return tuple(facts) if any(_tells_of_a_step(fact, choice) for fact in facts) else ()


def _numbers(line: str, choice: ColumnChoice) -> Iterator[tuple[str, str, int]]:
    """Name, text and place of each number that a verdict may need."""
    for asked in choice.asked:
        # What has a meaning of its own is found with it: `--loss loss` shall not take `val loss: 3`.
        if meaning_of(asked) is None and (found := _asked(asked).search(line)) is not None:
            yield asked, found["number"], found.start("number")
    if _CAFFE.search(line):
        return
    for pattern in (_DARKNET, _CATBOOST, _KALDI, _ESPNET, _BOOSTING, _TERSE):
        if (found := pattern.search(line)) is not None:
            for name, number in found.groupdict().items():
                if number is not None:
                    yield name, number, found.start(name)
            if pattern not in (_ESPNET, _BOOSTING, _TERSE):
                # The others are all that their lines say.
                return
    after = _AFTER.search(line)
    if after is not None:
        if after["counter"].lower() != "epoch":
            yield after["counter"], after["count"], after.start("count")
        yield _with_set(after["name"], line[: after.start()]), after["number"], after.start("number")
    settings = _SETTINGS.search(line)
    end = len(line) if settings is None else settings.start()
    names_sets = re.search(r"\bloss\b(?! *['\"]?[:=|]? *[-+.\d])", line, re.IGNORECASE) is not None
    for match in _PAIR.finditer(line):
        if match.start() > end or (after is not None and after.start() < match.start("number") <= after.end()):
            continue
        name_found = _name(match["words"].split(), line[: match.start()], choice, bare=not match["mark"].strip("'\" "))
        if name_found is None and names_sets and normal_form(match["words"]) in SETS:
            # lit-gpt: `loss train: 1.2, val: 1.3`; others: `Loss | train = 1.2 | dev = 1.3`.
            name_found = f"{match['words']} loss"
        if name_found is not None and not _is_duration(name_found, line, match.end("number")):
            yield name_found, match["number"], match.start("number")
    if not _WHOLE_EPOCH.search(line):
        yield from _of_total(line)


def _name(words: list[str], before: str, choice: ColumnChoice, *, bare: bool) -> str | None:
    """The name that words give a number, where it may be needed; else None.

    Args:
        words: before the number.
        before: what stands in the line before these.
        choice: what the user asks for.
        bare: whether nothing but spaces stands between words and number.
    """
    while len(words) > 1 and words[-1].lower() in _TRAILERS:
        words = words[:-1]
    # "Model diverged with loss" says no more of it than "loss".
    joined = [place for place, word in enumerate(words[:-1]) if word.lower() in _JOINTS]
    words = words[joined[-1] + 1 :] if joined else words
    while len(words) > 1 and words[0].lower().strip(".") in _FILLERS:
        words = words[1:]
    for first in range(len(words)):
        name = " ".join(words[first:])
        meaning = meaning_of(name)
        if meaning is None or meaning.field == "metric":
            if choice.names(name):
                return name
            continue
        qualifiers = normal_form(" ".join(words[:first])).split("_")
        if meaning.field == "loss" and not _DURATIONS.isdisjoint(qualifiers):
            return None
        if is_bound(qualifiers) or words[first].lower().startswith(("args.", "cfg.", "config.")):
            return None
        if meaning.field == "loss":
            return _with_set(name, before)
        is_another = (
            meaning.field == "epoch"
            or (bare and meaning.field in ("skipped", "skip_reason", "applied"))
            or (meaning.field == "step" and is_no_step(qualifiers))
            or (meaning.field in ("grad_norm", "loss_scale") and set_of(before) == "held")
        )
        return None if is_another else name
    return None


@lru_cache(maxsize=256)
def _asked(name: str) -> re.Pattern[str]:
    """The number that follows a name on a line, whatever stands beside."""
    spelled = r"\s+".join(map(re.escape, name.split()))
    return re.compile(
        rf"(?<![\w.]){spelled}(?!\w)(?:\s*\([^()]*\))?(?:[\s:=|>\['\"$(]|->|(?:is|was|of)\b|(?:\w+\.)*(?:tensor|array)\()*"
        rf"(?P<number>{NUMBER})(?!\d|\.\d)",
        re.IGNORECASE,
    )


def _is_duration(name: str, line: str, end: int) -> bool:
    """Whether the number that ends there is a time, though its name (`cost`) may be that of a loss."""
    meaning = meaning_of(name)
    return meaning is not None and meaning.field == "loss" and _UNIT.match(line, end) is not None


def _with_set(name: str, before: str) -> str:
    """The name of a loss, with what stands before it of the data and of what it is a mean."""
    if _EPOCH_MEAN.search(before):
        return f"average {name}"
    if {"train", "training"} & set(normal_form(name).split("_")):
        return name
    before = _EVALUATION_METRIC.sub("", before)
    if set_of(before) == "held":
        return f"validation {name}"
    if _MEAN_LINE.search(before) and not before.rstrip().endswith(("(", "[")):
        return f"average {name}"
    return name


def _of_total(line: str) -> Iterator[tuple[str, str, int]]:
    """Counters of the style `[10/500]`; either number may be the one that counts."""
    num_nameless = 0
    for match in _OF_TOTAL.finditer(line):
        before = match["before"] or ""
        word = before.split(maxsplit=1)[0].rstrip(":=[(#|,") if before else ""
        meaning = meaning_of(word) if word else None
        if _EPOCH.search(before) or _EPOCH.search(line[: match.start("first")]):
            continue
        if meaning is not None and meaning.field == "step":
            # The first number was read by its name; wenet prints `Batch EPOCH/BATCH`.
            yield f"{word} (second number)", match["second"], match.start("second")
        elif not (before.rstrip().endswith(":") and meaning is None):
            num_nameless += 1
            name = "step of total" if num_nameless == 1 else f"step of total ({num_nameless})"
            yield name, match["first"], match.start("first")
