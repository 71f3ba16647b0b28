"""README names existing make targets and functions, and its figures are those of the pages that describe them."""

import re

import pytest

import skelpipe
from test_support.doc_pages import PAGES, ROOT, blocks, page, section

README = PAGES[0].read_text(encoding="utf-8")


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make ([a-z-]+)", "\n".join(blocks(README, "bash")), re.MULTILINE)
    targets += re.findall(r"`make ([a-z-]+)`", README)
    assert {"demo", "setup", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("name", ["extract", "predict", "read_skeletons"])
def test_the_example_in_python_uses_existing_functions(name: str) -> None:
    (code,) = blocks(README, "python")
    assert f"skelpipe.{name}(" in code and callable(getattr(skelpipe, name))


def first_numbers(row: str) -> list[str]:
    """The first number in each cell of a table row, without the first cell and cells that do not start with one."""
    cells = [re.match(r"[\d.]+", cell.strip()) for cell in row.strip("|").split("|")[1:]]
    return [cell[0] for cell in cells if cell is not None]


def test_figures_equal_those_of_the_pages_that_describe_their_measurement() -> None:
    rows = [row for row in section(README, "Speed and accuracy").splitlines() if first_numbers(row)]
    assert len(rows) == 12
    speed = set()
    for row in page("performance.md").splitlines():
        numbers = first_numbers(row)
        # Every other column of the speed table is for the networks alone.
        speed |= {tuple(numbers), tuple(numbers[::2])}
    accuracy = set()
    for row in page("real_sets.md").splitlines():
        numbers = first_numbers(row)
        # Of damaged clips, the last two columns are those of the rivals with copies instead of without. Rows of few
        # clips begin with their number per class.
        # The table of mirror images begins with those that `data.flip=auto` chooses from.
        accuracy |= {tuple(numbers), tuple(numbers[:3]), (*numbers[:1], *numbers[3:]), tuple(numbers[1:4])}
        accuracy.add(tuple(numbers[2:5]))
    for row in rows:
        numbers = first_numbers(row)
        # The second table begins with the number of training clips.
        assert tuple(numbers) in speed or tuple(numbers[1:]) in accuracy, row
