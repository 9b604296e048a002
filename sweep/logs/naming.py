"""What the numbers of a text are called: for a person who has to say which is the loss, and where it is a reward."""

import re
from collections import Counter
from itertools import islice

from sweep.logs.columns import is_reward, normal_form
from sweep.logs.facts import NUMBER

_NAMED = re.compile(
    rf"(?<![\w/.-])(?P<name>[a-z_][\w./-]*(?: [a-z_][\w./-]*)?)['\"]?(?: *[:=] *\[?| +(?=[-+]?\d*\.\d))(?:{NUMBER})",
    re.IGNORECASE,
)
_EARNED = re.compile(
    rf"(?<![\w/])(?P<name>[\w/]*(?:reward|ep_re[wt]|episod(?:e|ic)_return)\w*)\W{{1,30}}{NUMBER}", re.IGNORECASE
)
_FEWEST = 3
"""Lines on which a name has a number, lest it be a setting or a word."""
_ENOUGH_REWARDS = 100
_MOST_LINES = 20_000
"""Lines that are looked at."""


def names_of_numbers(content: str) -> tuple[str, ...]:
    """Words that numbers follow on several lines (`name: 3`, `name=3`, `name 3.1`), most frequent first."""
    counts: Counter[str] = Counter()
    spelled: dict[str, str] = {}
    for line in content.split("\n", _MOST_LINES)[:_MOST_LINES]:
        names = {normal_form(name): name for name in _NAMED.findall(line)}
        for key, name in names.items():
            spelled.setdefault(key, name)
        counts.update(names.keys())
    return tuple(spelled[key] for key, count in counts.most_common() if count >= _FEWEST and key)


def rewards_of(content: str) -> tuple[str, ...]:
    """Names of what is earned in reinforcement learning, which many programs print on lines of their own."""
    if not any(word in content for word in ("eward", "ep_re", "_return")):
        return ()
    counts = Counter(found["name"] for found in islice(_EARNED.finditer(content), _ENOUGH_REWARDS))
    return tuple(name for name, count in counts.items() if count >= _FEWEST and is_reward(name))
