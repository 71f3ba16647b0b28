"""What a sweep is: one config, and rows that each change some settings of it, trained with several seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, field_validator

from pipeline.settings import find_config, override, parse, read_config
from pose_extraction.errors import UsageError
from recognition.robustness_conditions import BY_NAME, CLEAN, Condition
from recognition.settings import RunSettings, Strict


class Row(Strict):
    """One row of the table.

    Args:
        name: As the table calls it.
        set: Settings by dotted name, over those of the base.
        value: Place on the figure's axis, where the sweep has one.
        paper: Top-1 in per cent that the paper reports for it.
    """

    name: str
    set: dict[str, Any] = Field(default_factory=dict)
    value: float | None = None
    paper: float | None = None


class SweepSettings(Strict):
    """A sweep, as its config has it.

    Args:
        title: What it shows, a line.
        base: Config that all rows start from.
        set: Settings of all rows, over the base's.
        seeds: Of the training, different ones; every row is trained once with each.
        rows: At least one, with names and folders of their own; differences are against the first.
        axis: What the rows differ in, in words, for a figure over it.
        conditions: Family of damage -> levels that every run is measured under, beside clean clips.
    """

    title: str
    base: str = "small"
    set: dict[str, Any] = Field(default_factory=dict)
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    rows: tuple[Row, ...] = Field(min_length=1)
    axis: str | None = None
    conditions: dict[str, tuple[float | str, ...]] = Field(default_factory=dict)

    @field_validator("rows")
    @classmethod
    def _named(cls, rows: tuple[Row, ...]) -> tuple[Row, ...]:
        check_names([row.name for row in rows])
        return rows

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        check_seeds(seeds)
        return seeds

    @field_validator("conditions")
    @classmethod
    def _known(cls, conditions: dict[str, tuple[float | str, ...]]) -> dict[str, tuple[float | str, ...]]:
        for family, levels in conditions.items():
            if family not in BY_NAME:
                raise ValueError(f"{family!r} is no family of damage; there are {', '.join(BY_NAME)}")
            for level in levels:
                BY_NAME[family].check(level)
        return conditions

    def measured(self) -> list[Condition]:
        """Clean, and all levels of `conditions`."""
        return [Condition(CLEAN)] + [
            Condition(family, level) for family, levels in self.conditions.items() for level in levels
        ]


def read_sweep(name: str) -> SweepSettings:
    """A sweep by the path of its config, or by the name of one that comes with the package.

    Raises:
        UsageError: There is no such file, it is no YAML mapping, or a row's settings are unknown or wrong.
    """
    path = find_config(name)
    sweep = parse(read_plan(path), SweepSettings, place=str(path))
    for row in sweep.rows:
        settings_of(sweep, row, {}, place=str(path))
    return sweep


def read_plan(path: Path) -> dict[str, Any]:
    """What the config of a sweep holds, not checked yet.

    Raises:
        UsageError: There is no such file, or it is no YAML mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: cannot be read as YAML ({error})") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: holds {type(values).__name__}, not a sweep with `rows`")
    return values


def settings_of(sweep: SweepSettings, row: Row, changes: dict[str, Any], *, place: str) -> RunSettings:
    """Settings of a row: the base's, the sweep's, the row's, and those of the command line over all.

    Raises:
        UsageError: A setting is unknown or wrong.
    """
    values = read_config(sweep.base, RunSettings)
    for given in (sweep.set, row.set, changes):
        values = override(values, given, RunSettings)
    return parse(values, RunSettings, place=f"{place}, {row.name}")


def check_names(rows: Sequence[str]) -> None:
    """Refuses rows that cannot be told apart: each needs a line of the table and a folder of its own.

    Raises:
        ValueError: Two have the same name, or the same folder, or one has none.
    """
    by_folder: dict[str, str] = {}
    for row in rows:
        folder = folder_name(row)
        if not folder.strip("."):
            raise ValueError(f"a row named {row!r} can have no folder; use letters or digits")
        other = by_folder.get(folder)
        if other == row:
            raise ValueError(f"two rows have the same name, {row!r}")
        if other is not None:
            raise ValueError(f"rows {other!r} and {row!r} would both be trained in the folder {folder!r}; rename one")
        by_folder[folder] = row


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuses a seed that is there twice: its runs would be counted twice.

    Raises:
        ValueError: One is.
    """
    for place, seed in enumerate(seeds):
        if seed in seeds[:place]:
            raise ValueError(f"seed {seed} is there twice; name each once")


def folder_name(row: str) -> str:
    """A row's name as a folder."""
    kept = "".join(letter if letter.isalnum() or letter in "-._=" else "_" for letter in row.replace("%", "pct"))
    return Path(kept).name
