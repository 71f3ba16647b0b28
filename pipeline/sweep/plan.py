"""What sweeps of recognizers and of encoders have in common: their definition, the request, and the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import Field, field_validator
from rich.console import Console

from pipeline.cluster.options import ClusterOptions
from pose_extraction.errors import UsageError
from pose_extraction.yaml_text import read_yaml, yaml_reason
from recognition.settings import Strict

AUTO = "auto"


class SweepRow(Strict):
    """One row of the table.

    Args:
        name: Name in the table.
        set: Settings by dotted name, which override the base.
        value: Position on the axis of the figure, if the sweep has one.
    """

    name: str
    set: dict[str, Any] = Field(default_factory=dict)
    value: float | None = None


RowType = TypeVar("RowType", bound=SweepRow)


class SweepPlan(Strict, Generic[RowType]):
    """A sweep, as defined by its config.

    Args:
        title: One-line description.
        base: Config that all rows start from.
        set: Settings for all rows, which override the base.
        seeds: Distinct training seeds; every row is trained once with each.
        rows: At least one, with distinct names and folders; differences are relative to the first.
        axis: Label of the figure's axis: how the rows differ, in words.
    """

    title: str
    base: str
    set: dict[str, Any] = Field(default_factory=dict)
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    rows: tuple[RowType, ...] = Field(min_length=1)
    axis: str | None = None

    @field_validator("rows")
    @classmethod
    def _named(cls, rows: tuple[RowType, ...]) -> tuple[RowType, ...]:
        check_names([row.name for row in rows])
        return rows

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        check_seeds(seeds)
        return seeds


@dataclass(frozen=True)
class SweepRequest:
    """What the command line asks of a sweep, in addition to its config.

    Args:
        out: Folder for runs and results.
        console: Receives progress.
        data: Skeleton file; None for the newest.
        changes: Settings for all rows, by dotted name; they override the config.
        split: Test split; None for the one that matches the training split.
        seeds: Training seeds; None for those of the config.
        jobs: Number of parallel runs; None for one per GPU, or one per core. Actors of a cluster decide themselves.
        skip_bad: Whether to skip malformed clips, regardless of the rows' settings.
        dry_run: Whether to list the runs without training.
        cluster: How to use a Ray cluster; None for this machine.
        device: Kind of device of the actors of a cluster: "auto", "cpu" or "cuda".
    """

    out: Path
    console: Console
    data: Path | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    split: str | None = None
    seeds: Sequence[int] | None = None
    jobs: int | None = None
    skip_bad: bool = False
    dry_run: bool = False
    cluster: ClusterOptions | None = None
    device: str = AUTO

    def settings_of_all_rows(self) -> dict[str, Any]:
        """Settings that hold for all rows, by dotted name."""
        given = dict(self.changes)
        if self.data is not None:
            given["data.file"] = str(self.data)
        if self.skip_bad:
            given["data.skip_bad"] = True
        return given


@dataclass(frozen=True)
class Swept:
    """Results of a sweep.

    Args:
        title: One-line description of the sweep.
        rows: The table in long form, one dictionary per row and measurement; as in sweep.csv.
        heads: Column heads of the table in wide form.
        cells: Cells of the table in wide form, by row.
        failed: Runs that could not be trained, with the reasons.
        out: Folder of the files.
    """

    title: str
    rows: list[dict[str, Any]]
    heads: list[str]
    cells: dict[str, list[str]]
    failed: dict[str, str]
    out: Path


def read_plan(path: Path) -> dict[str, Any]:
    """Return the content of a sweep config without validation.

    Raises:
        UsageError: There is no such file, or it is not a YAML mapping.
    """
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: cannot be read as YAML ({yaml_reason(error)})") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: contains {type(values).__name__}, not a sweep with `rows`")
    return values


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
