"""What the page's script works with: figures, and how courses are drawn; packed."""

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

from sweep.report.figures.course import EVENT_SHARE, EVENTS_MARGIN, GAP, MAX_TICKS, OWN_LOSS, ROWS, layout, styles
from sweep.report.sections.courses import SHARP
from sweep.report.theme import MARKS, TRIAL_COLOURS, dark_swaps

NO_TRIALS = json.dumps({name: [] for name in ("ids", "numbers", "outcomes", "rows", "sort", "settings", "told")})
"""What the script reads where the table of trials could not be made."""


def figures_payload(figures: Mapping[str, Any], *, is_ctc: bool = True) -> str:
    """All figures by the id of their element, how courses are drawn, and the dark counterparts of colours."""
    course = {
        "rows": {name: vars(row) for name, row in ROWS.items()},
        "styles": styles(),
        "layout": layout() if is_ctc else layout(OWN_LOSS),
        "gap": GAP,
        "maxTicks": MAX_TICKS,
        "eventShare": EVENT_SHARE,
        "eventsMargin": EVENTS_MARGIN,
        "evalSharpness": SHARP,
        "outcomeColours": {outcome.value: mark.light for outcome, mark in MARKS.items()},
        "trialColours": [both[0] for both in TRIAL_COLOURS],
    }
    return json.dumps({"figures": figures, "swaps": dark_swaps(), "course": course}, allow_nan=False)


def packed(text: str) -> str:
    """Text as gzip in base64: about a third of its size, and free of anything that HTML could misread."""
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode("ascii")
