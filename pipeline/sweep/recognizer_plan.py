"""Definition of a sweep: a base config, and rows that each change some settings, trained with several seeds."""

from typing import Any

from pydantic import Field, field_validator

from pipeline.config import find_config, override, parse, parse_file, read_config
from pipeline.sweep.plan import SweepPlan, SweepRow, read_plan
from recognition.robustness.conditions import BY_NAME, CLEAN, Condition
from recognition.settings import RunSettings


class Row(SweepRow):
    """One row of the table; see `SweepRow`.

    Args:
        paper: Top-1 accuracy in per cent reported in the paper.
    """

    paper: float | None = None


class SweepSettings(SweepPlan[Row]):
    """A sweep of recognizers; see `SweepPlan`.

    Args:
        conditions: Family of damage -> levels that every run is evaluated under, in addition to clean clips.
    """

    base: str = "small"
    conditions: dict[str, tuple[float | str, ...]] = Field(default_factory=dict)

    @field_validator("conditions")
    @classmethod
    def _known(cls, conditions: dict[str, tuple[float | str, ...]]) -> dict[str, tuple[float | str, ...]]:
        for family, levels in conditions.items():
            if family not in BY_NAME:
                raise ValueError(f"{family!r} is not a family of perturbations; choose from {', '.join(BY_NAME)}")
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
    sweep = parse_file(path, read_plan(path), SweepSettings)
    for row in sweep.rows:
        settings_of(sweep, row, {}, place=str(path))
    return sweep


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
