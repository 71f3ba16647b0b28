"""README and the pages of docs/, as the tests read them."""

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def page(name: str) -> str:
    """The text of a page of docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """The text below a heading, down to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no section {title!r}"
    return found[1]


def blocks(text: str) -> list[str]:
    """Its indented blocks of code; lines without text belong to a block if indented ones follow."""
    found = re.findall(r"(?:^ {4}.*\n(?:[ \t]*\n)*)+", text, re.MULTILINE)
    return [textwrap.dedent(block).strip("\n") + "\n" for block in found]


def table_names(text: str, heading: str = "") -> set[str]:
    """Names in code in the first column of the tables that begin with a heading; of all tables without one."""
    names: set[str] = set()
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = table.splitlines()
        if not heading or rows[0].startswith(f"| {heading} |"):
            names |= {name for row in rows[2:] for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])}
    return names


def anchors(text: str) -> set[str]:
    """What links to its headings end in."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
