"""Definition of a pre-training sweep: a base config, and rows that each change some settings, compared by protocols."""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import Field, field_validator

from pipeline.config import EXTENDS, find_config, override, parse, parse_file, read_config
from pipeline.protocols.recipe import parse_protocol, protocol_settings
from pipeline.sweep.plan import SweepPlan, SweepRow, read_plan
from pose_extraction.errors import UsageError
from recognition.pretraining.settings import PretrainSettings

# Key that distinguishes a pre-training sweep from a training sweep.
MARK = "protocols"
# Setting on the command line that replaces the base config of all rows.
BASE = "base"
FRESH = "fresh weights"


class PretrainRow(SweepRow):
    """One row of the table; see `SweepRow`.

    Args:
        config: Config whose own settings apply, without those it extends; None for the base.
    """

    config: str | None = None


class PretrainSweep(SweepPlan[PretrainRow]):
    """A sweep of encoders; see `SweepPlan`. The seeds are those of pre-training and of the protocols.

    Args:
        protocols: Protocols that evaluate every encoder, as named by `skelpipe evaluate --protocol`.
        recipe: Protocol settings by dotted name, which override those of the method.
        fresh: Whether to also evaluate the first row's network with random weights.
    """

    protocols: tuple[str, ...] = Field(min_length=1)
    recipe: dict[str, Any] = Field(default_factory=dict)
    fresh: bool = True

    @field_validator("rows")
    @classmethod
    def _not_reserved(cls, rows: tuple[PretrainRow, ...]) -> tuple[PretrainRow, ...]:
        if FRESH in [row.name for row in rows]:
            raise ValueError(f"the row name {FRESH!r} is reserved for a network without pre-training; rename the row")
        return rows

    @field_validator("protocols")
    @classmethod
    def _measurable(cls, protocols: tuple[str, ...]) -> tuple[str, ...]:
        for word in protocols:
            try:
                name = parse_protocol(word).name
            except UsageError as error:
                raise ValueError(str(error)) from error
            if name in ("transfer", "detection", "motion"):
                raise ValueError(f"{word} gives no accuracy on the pre-training file; run it with `skelpipe evaluate`")
        return protocols


def is_pretrain_sweep(name: str) -> bool:
    """Whether a config defines a pre-training sweep, rather than a training sweep.

    Raises:
        UsageError: There is no such file, or it is not YAML.
    """
    return MARK in read_plan(find_config(name))


def read_pretrain_sweep(name: str, changes: Mapping[str, Any] | None = None) -> tuple[PretrainSweep, dict[str, Any]]:
    """Read a sweep config by path or name; return it and the settings that the command line changes for all rows.

    Args:
        name: Path of the config, or name of one in the package.
        changes: Settings by dotted name; `base` replaces the base config of all rows.

    Raises:
        UsageError: There is no such file, or settings of a row are unknown or invalid.
    """
    path = find_config(name)
    given = dict(changes or {})
    values = read_plan(path)
    if BASE in given:
        values[BASE] = str(given.pop(BASE))
    plan = parse_file(path, values, PretrainSweep)
    for row in plan.rows:
        settings = pretrain_settings_of(plan, row, given, place=str(path))
        protocol_settings(settings.method, pairs_of(plan.recipe))
    return plan, given


def pretrain_settings_of(
    plan: PretrainSweep, row: PretrainRow, changes: Mapping[str, Any], *, place: str
) -> PretrainSettings:
    """Return the settings of a row: base, sweep, config, row and command line, in ascending priority.

    Args:
        plan: The sweep.
        row: Row of the table.
        changes: Settings from the command line, by dotted name.
        place: Name of the sweep, for messages.

    Raises:
        UsageError: A setting is unknown or invalid.
    """
    values = read_config(plan.base, PretrainSettings)
    for given in (plan.set, own_changes(row.config), row.set, changes):
        values = override(values, given, PretrainSettings)
    return parse(values, PretrainSettings, place=f"{place}, {row.name}")


def own_changes(config: str | None) -> dict[str, Any]:
    """Return the settings in a config file by dotted name, without those that it extends.

    Raises:
        UsageError: There is no such file, or it is not YAML.
    """
    found: dict[str, Any] = {}
    for section, value in read_plan(find_config(config)).items() if config else ():
        if isinstance(value, dict):
            found |= {f"{section}.{name}": inner for name, inner in value.items()}
        elif section != EXTENDS:
            found[section] = value
    return found


def pairs_of(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as `key=value` words for the command line."""
    return [
        f"{name}={yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}" for name, value in settings.items()
    ]
