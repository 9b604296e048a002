"""The responses of claims in words, and the levels that they compare."""

from sweep.study.claim import Claim
from sweep.study.responses import RESPONSES, Response
from sweep.wording import number, percent


def response(claim: Claim) -> Response:
    """The claim's response."""
    return RESPONSES[claim.response]


def level_text(factor: str, level: str) -> str:
    """A level's name; one that says nothing by itself, with its factor: `batch 4`."""
    return f"{factor} {level}" if level in ("true", "false") or level[:1] in "-.0123456789" else level


def is_ratio(claim: Claim) -> bool:
    """Whether the effect is a factor: it is drawn on a logarithmic axis, and 1 is no effect."""
    return claim.effect == "ratio"


def shown(claim: Claim, effect: float) -> float:
    """The effect as a reader sees it: shares in points of a hundred."""
    value = 100 * effect if response(claim).is_share and not is_ratio(claim) else effect
    return 0.0 if abs(value) < 1e-9 else value  # what rounding leaves


def response_text(claim: Claim, value: float) -> str:
    """One training's response, or a mean of them: `83 %`, `0.42`."""
    return percent(value) if response(claim).is_share else number(value)
