"""The examples of README.md and docs/: every block of code, with its page, line, language and mark."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIARIES = {"LOG.md"}
"""Pages that tell of what was done once; their commands were those of their day."""
PAGES = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").rglob("*.md")) if p.name not in DIARIES)]
_FENCED = re.compile(
    r"(?:<!-- (?P<mark>[^\n]*?) -->\n)?(?P<indent>[ ]*)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)\n[ ]*```", re.DOTALL
)
_INDENTED = re.compile(r"(?<=\n\n)(?: {4}(?: {3})?\S.*\n)(?: {4,}.*\n)*")


@dataclass(frozen=True)
class Block:
    """One example."""

    place: str
    """Page and line, such as docs/tutorial.md:12."""
    language: str
    text: str
    mark: str
    """What the comment before it says of how it is checked; empty where it is checked as it stands."""


def blocks(*languages: str) -> list[Block]:
    """All examples in these languages, in the order of their pages."""
    return [block for page in PAGES for block in _of(page) if block.language in languages]


def example(language: str, containing: str) -> str:
    """The one example that holds this text."""
    [found] = [block.text for block in blocks(language) if containing in block.text]
    return found


def _of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()

    def block(found: re.Match[str], language: str, code: str, mark: str = "") -> Block:
        return Block(f"{name}:{text.count(chr(10), 0, found.start()) + 1}", language, textwrap.dedent(code), mark)

    fenced = [block(m, m["language"], m["indent"] + m["text"], m["mark"] or "") for m in _FENCED.finditer(text)]
    # What is merely indented is a shell's.
    bare = _FENCED.sub(lambda found: "\n" * found[0].count("\n"), text)
    return fenced + [block(m, "sh", m[0]) for m in _INDENTED.finditer(bare)]
