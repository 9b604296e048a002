"""The page as it goes from the process that builds it to the browsers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """One state of the report."""

    html: bytes
    """Compressed with gzip."""
    version: str
    """Equal for equal pages."""
    name: str
    """Of the study."""
    num_trials: int
    """Finished trainings on the page."""
    num_planned: int | None
    """Trainings that the exploration may have; None if the study does not say."""
    built_at: float
    """When the folder was read, in seconds since 1970."""


@dataclass(frozen=True)
class Reply:
    """What came of one attempt to build the page."""

    page: Page | None
    error: str | None
    """Why there is no page, or what is missing in it, in one line."""
    cpu_s: float
    """Time on a processor since the reply before, in seconds; the first one's includes the start of the process."""
