"""Definition of a sweep: a base config, and rows that each change some settings, trained with several seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, field_validator

from pipeline.config import find_config, override, parse, read_config
from pose_extraction.errors import UsageError
from recognition.robustness.conditions import BY_NAME, CLEAN, Condition
from recognition.settings import RunSettings, Strict


class Row(Strict):
    """One row of the table.

    Args:
        name: Name in the table.
        set: Settings by dotted name, which override the base.
        value: Position on the axis of the figure, if the sweep has one.
        paper: Top-1 accuracy in per cent reported in the paper.
    """

    name: str
    set: dict[str, Any] = Field(default_factory=dict)
    value: float | None = None
    paper: float | None = None


class SweepSettings(Strict):
    """A sweep, as defined by its config.

    Args:
        title: One-line description.
        base: Config that all rows start from.
        set: Settings for all rows, which override the base.
        seeds: Distinct training seeds; every row is trained once with each.
        rows: At least one, with distinct names and folders; differences are relative to the first.
        axis: Label of the figure's axis: how the rows differ, in words.
        conditions: Family of damage -> levels that every run is evaluated under, in addition to clean clips.
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
                raise ValueError(f"{family!r} is not a family of damage; choose from {', '.join(BY_NAME)}")
            for level in levels:
                BY_NAME[family].check(level)
        return conditions

    def measured(self) -> list[Condition]:
        """Return the clean condition and all levels of `conditions`."""
        return [Condition(CLEAN)] + [
            Condition(family, level) for family, levels in self.conditions.items() for level in levels
        ]


def read_sweep(name: str) -> SweepSettings:
    """Read a sweep config by path, or by the name of one in the package.

    Raises:
        UsageError: There is no such file, it is not a YAML mapping, or settings are unknown or invalid.
    """
    path = find_config(name)
    sweep = parse(read_plan(path), SweepSettings, place=str(path))
    for row in sweep.rows:
        settings_of(sweep, row, {}, place=str(path))
    return sweep


def read_plan(path: Path) -> dict[str, Any]:
    """Return the content of a sweep config without validation.

    Raises:
        UsageError: There is no such file, or it is not a YAML mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: cannot be read as YAML ({error})") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: contains {type(values).__name__}, not a sweep with `rows`")
    return values


def settings_of(sweep: SweepSettings, row: Row, changes: dict[str, Any], *, place: str) -> RunSettings:
    """Return the settings of a row: base, sweep, row and command line, in ascending priority.

    Args:
        sweep: The sweep.
        row: Row of the table.
        changes: Settings from the command line, by dotted name.
        place: Name of the sweep, for messages.

    Raises:
        UsageError: A setting is unknown or invalid.
    """
    values = read_config(sweep.base, RunSettings)
    for given in (sweep.set, row.set, changes):
        values = override(values, given, RunSettings)
    return parse(values, RunSettings, place=f"{place}, {row.name}")


def check_names(rows: Sequence[str]) -> None:
    """Check that rows have distinct names, which also give distinct folders.

    Raises:
        ValueError: Two rows have the same name or folder, or a name gives no valid folder.
    """
    by_folder: dict[str, str] = {}
    for row in rows:
        folder = folder_name(row)
        if not folder.strip("."):
            raise ValueError(f"the row name {row!r} gives no valid folder name; use letters or digits")
        other = by_folder.get(folder)
        if other == row:
            raise ValueError(f"two rows have the same name, {row!r}")
        if other is not None:
            raise ValueError(f"rows {other!r} and {row!r} would both be trained in the folder {folder!r}; rename one")
        by_folder[folder] = row


def check_seeds(seeds: Sequence[int]) -> None:
    """Check that seeds are distinct, so that no run counts twice.

    Raises:
        ValueError: A seed is repeated.
    """
    for place, seed in enumerate(seeds):
        if seed in seeds[:place]:
            raise ValueError(f"seed {seed} is repeated; list each seed once")


def folder_name(row: str) -> str:
    """Convert a row's name to a folder name."""
    kept = "".join(letter if letter.isalnum() or letter in "-._=" else "_" for letter in row.replace("%", "pct"))
    return Path(kept).name
