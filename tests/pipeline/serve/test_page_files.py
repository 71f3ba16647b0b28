"""Rules for the files of the page that no browser checks."""

import re
from pathlib import Path

import pytest

from test_support.services.browser import PAGE

# The page of `/docs` has a style sheet of its own.
STARTS = (PAGE / "index.html", PAGE / "reference.css")
FILES = sorted(path for path in PAGE.rglob("*") if path.is_file())
LONGEST = 300
IMPORT = re.compile(r'from "(\.[^"]+)"')
LINK = re.compile(r'(?:href|src)="/page/([^"]+)"')
# Ways of turning text into elements or code, or of loading something from elsewhere.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|@import|https?://"
)
NAMESPACE = "http://www.w3.org/2000/svg"


def used_by(path: Path) -> set[Path]:
    text = path.read_text("utf-8")
    if path.suffix == ".html":
        return {PAGE / name for name in LINK.findall(text)}
    return {(path.parent / name).resolve() for name in IMPORT.findall(text)}


def test_every_file_is_used_and_exists() -> None:
    found, waiting = set(), set(STARTS)
    while waiting:
        path = waiting.pop()
        assert path.is_file(), path.relative_to(PAGE)
        found.add(path)
        waiting |= used_by(path) - found
    types = {PAGE / "model" / "types.js"}
    assert found | types == set(FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PAGE).as_posix())
def test_files_are_short_and_make_elements_of_no_text(path: Path) -> None:
    text = path.read_text("utf-8").replace(NAMESPACE, "")
    assert not FORBIDDEN.search(text)
    if path.suffix == ".js":
        assert text.startswith("/**") and text.count("\n") <= LONGEST
        assert all(len(line) <= 120 for line in text.splitlines())
