"""The pages of the documentation, as the tests read them."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def page(name: str) -> str:
    """The text of a page in docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def _lines(text: str) -> Iterator[tuple[str, str | None]]:
    """Each line, with the language of the fenced block that it is in; None outside of blocks and for the fences."""
    language: str | None = None
    for line in text.splitlines():
        if line.startswith("```"):
            language = line.removeprefix("```") if language is None else None
            yield line, None
        else:
            yield line, language


def section(text: str, title: str) -> str:
    """The text below a heading, up to the next heading of any level."""
    body: list[str] | None = None
    for line, language in _lines(text):
        if language is None and re.match(r"#+ ", line):
            if body is not None:
                break
            if line.lstrip("#").strip() == title:
                body = []
        elif body is not None:
            body.append(line)
    assert body is not None, f"no section is called {title!r}"
    return "\n".join(body) + "\n"


def blocks(text: str, language: str | None = None) -> list[str]:
    """The fenced code blocks, those of one language only if it is given."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [code for name, code in found if language in (None, name)]


def table_names(text: str, heading: str = "") -> set[str]:
    """Names in code in the first column of the tables whose first heading is `heading`; of all tables without it."""
    names: set[str] = set()
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = table.splitlines()
        if not heading or rows[0].startswith(f"| {heading} |"):
            names |= {name for row in rows[2:] for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])}
    return names


def anchors(text: str) -> set[str]:
    """The anchors of its headings."""
    titles = [line.lstrip("#") for line, language in _lines(text) if language is None and re.match(r"#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
