"""What README tells a newcomer to type exists."""

import re
from pathlib import Path

import pytest
import typer.main
import yaml

import pipeline
from pipeline.cli import app
from pipeline.config import find_config
from pose_extraction.networks.model_zoo import lookup
from pose_extraction.networks.onnx_models import DetectorNotes, EstimatorNotes

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text below a heading, down to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", README, re.MULTILINE | re.DOTALL)
    assert found is not None, f"README has no section {title!r}"
    return found[1]


def test_every_command_and_option_exists() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    lines = re.findall(r"(?:^    |`)skelpipe (\w+)([^\n`#]*)", README, re.MULTILINE)
    assert len(lines) > 10
    assert {"extract", "train", "evaluate", "predict"} <= {name for name, _ in lines} <= set(commands)
    for name, rest in lines:
        known = {option for parameter in commands[name].params for option in parameter.opts} | {"--help"}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, f"skelpipe {name}{rest}"
    for name in re.findall(r"(?:--config|skelpipe train) ([\w`]+/\S+)", README):
        assert find_config(name.strip("`"))


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make ([a-z]+)`?(?:\s+#|`)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_network_in_the_table_exists() -> None:
    names: list[str] = []
    for row in re.findall(r"^\| (`.*?) \|", section("Estimators and detectors"), re.MULTILINE):
        for name in re.findall(r"`([\w-]+)`", row):
            # `-s` after `vitpose-b` is short for `vitpose-s`.
            names.append(names[-1].rsplit("-", 1)[0] + name if name.startswith("-") else name)
    assert len(names) > 15
    for name in names:
        lookup(name)


def test_the_yaml_beside_an_onnx_file_has_these_keys_and_defaults() -> None:
    block = re.findall(r"^    (.*)$", section("Networks in ONNX files"), re.MULTILINE)
    split = block[0].index("# detector")
    columns = ([line[:split] for line in block], [line[split:] for line in block])
    for column, notes in zip(columns, (EstimatorNotes, DetectorNotes), strict=True):
        values = yaml.safe_load("\n".join(column))
        assert set(values) == set(notes.model_fields)
        assert notes.model_validate(values) == notes()


@pytest.mark.parametrize("name", ["extract_videos", "read_skeletons"])
def test_the_three_lines_of_python_use_what_is_there(name: str) -> None:
    assert name in section("In Python") and callable(getattr(pipeline, name))


def first_numbers(row: str) -> list[str]:
    """The first number of each cell of a table's row but the first; none for a cell without."""
    cells = [re.match(r"[\d.]+", cell.strip()) for cell in row.strip("|").split("|")[1:]]
    return [cell[0] for cell in cells if cell is not None]


def test_the_numbers_of_readme_are_those_of_the_pages_that_tell_how_they_were_measured() -> None:
    rows = [row for row in section("Speed and accuracy").splitlines() if first_numbers(row)]
    assert len(rows) == 7
    measured = set()
    for name in ("performance.md", "recognition.md"):
        for row in (ROOT / "docs" / name).read_text(encoding="utf-8").splitlines():
            numbers = first_numbers(row)
            # Of speed, every other column is of the networks alone.
            measured |= {tuple(numbers), tuple(numbers[::2])}
    for row in rows:
        assert tuple(first_numbers(row)) in measured, row
