"""What MkDocs does not do by itself: the home page is README.md, the reference is made of the code, and links that lead
out of docs/ lead to copies of those files."""

import posixpath
import re
from pathlib import Path
from typing import Any

import reference
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
HOME = "index.md"
COPIES = "repository"
"""The folder of the site with files that lie outside docs/."""
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Adds the home page, the reference and the files outside docs/ that pages link to."""
    home = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, HOME, content=home))
    for page, maker in reference.MADE.items():
        files.append(File.generated(config, page, content=getattr(reference, maker)()))
    texts = {file.src_uri: file.content_string for file in files.documentation_pages()}
    wanted = {
        path for page, text in texts.items() for _, link, _ in _LINK.findall(text) if (path := _outside(page, link))
    }
    while wanted:
        path = wanted.pop()
        uri = f"{COPIES}/{path}"
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Has links that lead out of docs/ lead to the copies; a page without siblings takes the room of their list."""
    uri = page.file.src_uri
    if page.parent is None:
        page.meta["hide"] = ["navigation"]

    def told(found: re.Match[str]) -> str:
        path = _outside(uri, found[2])
        if path is None:
            inside = _inside(uri, found[2])
            return f"{found[1]}{inside}{found[3]}" if inside else found[0]
        return f"{found[1]}{posixpath.relpath(f'{COPIES}/{path}', posixpath.dirname(uri) or '.')}{found[3]}"

    return _LINK.sub(told, _with_lists(markdown))


def _with_lists(markdown: str) -> str:
    """Numbered lists as MkDocs takes them, not as GitHub does: what belongs to a point is four spaces in, and
    a point that follows it comes after a blank line."""
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else _sane(part) for part in parts)


def _sane(text: str) -> str:
    text = re.sub(r"^ {3}(?=\S| {4})", "    ", text, flags=re.MULTILINE)
    return re.sub(r"^( {4}.*\n)(?=\d+\. )", r"\1\n", text, flags=re.MULTILINE)


def _place(page: str) -> str:
    """Where a page lies in the repository."""
    if page == HOME:
        return "README.md"
    return page.removeprefix(f"{COPIES}/") if page.startswith(f"{COPIES}/") else f"docs/{page}"


def _target(page: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(_place(page)), link))


def _outside(page: str, link: str) -> str | None:
    """The file of the repository outside docs/ that a link leads to; None where it leads elsewhere."""
    if "://" in link or link.startswith(("mailto:", "/")):
        return None
    target = _target(page, link)
    return target if not target.startswith("docs/") and (ROOT / target).is_file() else None


def _inside(page: str, link: str) -> str | None:
    """A link of README.md or of a copy to a page of docs/, as it reads from where that page stands in the site."""
    target = _target(page, link)
    if "://" in link or _place(page).startswith("docs/") or not target.startswith("docs/"):
        return None
    return posixpath.relpath(target.removeprefix("docs/"), posixpath.dirname(page) or ".")
