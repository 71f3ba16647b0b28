"""Typed settings: unknown keys and wrong types are refused with the nearest known key named."""

import difflib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pose_extraction.errors import UsageError

CONFIG_FOLDER = "configs"


class ExtractSettings(BaseModel):
    """Settings of `skelpipe extract`; the command's help says what each one does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    estimator: str = "vitpose"
    detector: str = "rtmdet"
    checkpoint: str | None = None
    detector_checkpoint: str | None = None
    device: str = "auto"
    backend: Literal["auto", "torch", "openvino", "onnxruntime"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    batch_size: Literal["auto"] | int = "auto"
    detect_every: Literal["auto"] | int = "auto"
    detection_threshold: float = Field(0.3, gt=0, lt=1)
    square_input: bool = False
    flip_test: bool = False
    max_persons: int = Field(10, ge=1)
    persons: int | None = Field(None, ge=1)
    smooth: bool = False
    stride: int = Field(1, ge=1)
    start: float | None = Field(None, ge=0)
    end: float | None = Field(None, gt=0)
    overlay: bool = False
    workers: Literal["auto"] | int = "auto"

    @model_validator(mode="after")
    def _consistent(self) -> "ExtractSettings":
        for name in ("batch_size", "detect_every", "workers"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise ValueError(f"{name} is {value}, but must be auto or at least 1")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError(f"end {self.end} s is not after start {self.start} s")
        return self

    def shaping(self) -> dict[str, Any]:
        """The settings that decide what a clip's poses are; the others decide how fast they come and where they go."""
        names = (
            "detect_every",
            "detection_threshold",
            "square_input",
            "flip_test",
            "max_persons",
            "persons",
            "smooth",
            "stride",
            "start",
            "end",
        )
        return {name: getattr(self, name) for name in names}


def parse_settings(values: dict[str, Any], *, place: str) -> ExtractSettings:
    """Checks values and fills in defaults.

    Args:
        values: By name.
        place: Where they come from, for the message.

    Raises:
        UsageError: A key is unknown, or a value is of the wrong type or out of range.
    """
    try:
        return ExtractSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, ExtractSettings.model_fields, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{place}: unknown setting {key!r}{hint}") from error
        message = first["msg"].removeprefix("Value error, ")
        got = f" (got {first['input']!r})" if key else ""
        raise UsageError(f"{place}: {key + ': ' if key else ''}{message}{got}") from error


def find_config(name: str) -> Path:
    """A config by path, or by its name below the `configs` folder that comes with the package, from any folder.

    Raises:
        UsageError: There is none; those that exist are named.
    """
    own = Path(name)
    if own.is_file():
        return own
    folder = shipped_configs()
    shipped = folder / f"{name.removesuffix('.yaml')}.yaml"
    if shipped.is_file():
        return shipped
    known = ", ".join(sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")))
    raise UsageError(f"there is no config {name}; give the path of a YAML file, or one of: {known}")


def shipped_configs() -> Path:
    """The `configs` folder: inside the package when installed from a wheel, beside it in a checkout."""
    inside = Path(str(resources.files("pipeline"))) / CONFIG_FOLDER
    return inside if inside.is_dir() else inside.parents[1] / CONFIG_FOLDER


def read_config(name: str) -> dict[str, Any]:
    """The values in a config file.

    Raises:
        UsageError: There is no such file, or it is not a YAML mapping of known settings.
    """
    path = find_config(name)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: cannot be read as YAML ({error})") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: holds {type(values).__name__}, not settings as `name: value` lines")
    parse_settings(values, place=str(path))
    return values
