"""What a sweep of pre-trainings is: one config, and rows that each change something of it, measured by protocols."""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import Field, field_validator

from pipeline.protocols import parse_protocol, protocol_settings
from pipeline.settings import EXTENDS, find_config, override, parse, read_config
from pipeline.sweep_settings import check_names, check_seeds, read_plan
from pose_extraction.errors import UsageError
from recognition.pretraining.settings import PretrainSettings
from recognition.settings import Strict

# By this key such a sweep is told from one of trainings.
MARK = "protocols"
# Word of the command line that takes another config for all rows.
BASE = "base"
FRESH = "fresh weights"


class PretrainRow(Strict):
    """One row of the table.

    Args:
        name: As the table calls it.
        config: Of which what it says itself counts, and not what it extends; None for the base as it is.
        set: Settings by dotted name, over these.
        value: Place on the figure's axis, where the sweep has one.
    """

    name: str
    config: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    value: float | None = None


class PretrainSweep(Strict):
    """A sweep, as its config has it.

    Args:
        title: What it shows, a line.
        base: Config that all rows start from.
        set: Settings of all rows, over the base's.
        seeds: Of the pre-training and of the protocols, different ones; every row is pre-trained once with each.
        protocols: What every encoder is measured by, as `skelpipe evaluate --protocol` has them.
        recipe: Settings of the protocols by dotted name, over those of the method.
        fresh: Whether the first row's network is measured with fresh weights, too.
        rows: At least one, with names and folders of their own; differences are against the first.
        axis: What the rows differ in, in words, for a figure over it.
    """

    title: str
    base: str
    set: dict[str, Any] = Field(default_factory=dict)
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    protocols: tuple[str, ...] = Field(min_length=1)
    recipe: dict[str, Any] = Field(default_factory=dict)
    fresh: bool = True
    rows: tuple[PretrainRow, ...] = Field(min_length=1)
    axis: str | None = None

    @field_validator("rows")
    @classmethod
    def _named(cls, rows: tuple[PretrainRow, ...]) -> tuple[PretrainRow, ...]:
        names = [row.name for row in rows]
        check_names(names)
        if FRESH in names:
            raise ValueError(f"a row is called {FRESH!r}, as the table calls what was not pre-trained; rename it")
        return rows

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        check_seeds(seeds)
        return seeds

    @field_validator("protocols")
    @classmethod
    def _told(cls, protocols: tuple[str, ...]) -> tuple[str, ...]:
        for word in protocols:
            try:
                name = parse_protocol(word).name
            except UsageError as error:
                raise ValueError(str(error)) from error
            if name in ("transfer", "detection", "motion"):
                raise ValueError(f"{word} gives no accuracy on the file of the pre-training; measure runs by it alone")
        return protocols


def is_pretrain_sweep(name: str) -> bool:
    """Whether a config is of such a sweep, and not of one of trainings.

    Raises:
        UsageError: There is no such file, or it is no YAML.
    """
    return MARK in read_plan(find_config(name))


def read_pretrain_sweep(name: str, changes: Mapping[str, Any] | None = None) -> tuple[PretrainSweep, dict[str, Any]]:
    """A sweep by the path of its config or by its name, and what the command line changes of all rows.

    Args:
        name: Of the config.
        changes: Settings by dotted name; `base` is another config for all rows to start from.

    Raises:
        UsageError: There is no such file, or a row's settings are unknown or wrong.
    """
    path = find_config(name)
    given = dict(changes or {})
    values = read_plan(path)
    if BASE in given:
        values[BASE] = str(given.pop(BASE))
    plan = parse(values, PretrainSweep, place=str(path))
    for row in plan.rows:
        settings = pretrain_settings_of(plan, row, given, place=str(path))
        protocol_settings(settings.method, pairs_of(plan.recipe))
    return plan, given


def pretrain_settings_of(
    plan: PretrainSweep, row: PretrainRow, changes: Mapping[str, Any], *, place: str
) -> PretrainSettings:
    """Settings of a row: the base's, the sweep's, its config's, its own, and those of the command line over all.

    Raises:
        UsageError: A setting is unknown or wrong.
    """
    values = read_config(plan.base, PretrainSettings)
    for given in (plan.set, own_changes(row.config), row.set, changes):
        values = override(values, given, PretrainSettings)
    return parse(values, PretrainSettings, place=f"{place}, {row.name}")


def own_changes(config: str | None) -> dict[str, Any]:
    """What a config says itself, by dotted name; what it extends is left out.

    Raises:
        UsageError: There is no such file, or it is no YAML.
    """
    found: dict[str, Any] = {}
    for section, value in read_plan(find_config(config)).items() if config else ():
        if isinstance(value, dict):
            found |= {f"{section}.{name}": inner for name, inner in value.items()}
        elif section != EXTENDS:
            found[section] = value
    return found


def pairs_of(settings: Mapping[str, Any]) -> list[str]:
    """Settings as words of the command line."""
    return [
        f"{name}={yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}" for name, value in settings.items()
    ]
