"""Typed settings: unknown keys and wrong types are refused with the nearest known key named."""

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pose_extraction.errors import UsageError
from pose_extraction.model_zoo import score_threshold_of
from recognition.extraction_settings import SHAPING
from recognition.settings import SIZES

CONFIG_FOLDER = "configs"
# A key of a config: the config that it changes, beside it or by name.
EXTENDS = "extends"

Settings = TypeVar("Settings", bound=BaseModel)


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
    detection_threshold: Literal["auto"] | Annotated[float, Field(gt=0, lt=1)] = "auto"
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

    @property
    def score_threshold(self) -> float:
        """Score below which a box is no person: the detector's own, unless one was given."""
        if self.detection_threshold != "auto":
            return self.detection_threshold
        return score_threshold_of(self.detector)

    def shaping(self) -> dict[str, Any]:
        """The settings that decide what a clip's poses are; the others decide how fast they come and where they go."""
        own = {name: getattr(self, name) for name in (*SHAPING, "start", "end")}
        return own | {"detection_threshold": self.score_threshold}


def parse_settings(values: Mapping[str, Any], *, place: str) -> ExtractSettings:
    """Settings of `skelpipe extract`; see `parse`."""
    return parse(values, ExtractSettings, place=place)


def parse(values: Mapping[str, Any], kind: type[Settings], *, place: str) -> Settings:
    """Checks values and fills in defaults.

    Args:
        values: By name; those of a section are a mapping of their own.
        kind: Which settings they are.
        place: Where they come from, for the message.

    Raises:
        UsageError: A key is unknown, or a value is of the wrong type or out of range.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        # Of several that a value may be, what is wrong within one says more than that it is not the other.
        first = max(error.errors(), key=lambda one: len(one["loc"]))
        path = [str(part) for part in first["loc"] if not _is_type_name(part)]
        key = ".".join(path)
        if first["type"] == "extra_forbidden":
            section: type[BaseModel] = kind
            for part in path[:-1]:
                # A number is a place in a list, whose settings are the ones that its field names.
                section = sections_of(section).get(part, section)
            near = difflib.get_close_matches(path[-1], section.model_fields, n=1)
            hint = f"; did you mean {'.'.join([*path[:-1], near[0]])!r}?" if near else ""
            raise UsageError(f"{place}: unknown setting {key!r}{hint}") from error
        message = first["msg"].removeprefix("Value error, ")
        got = f" (got {first['input']!r})" if key else ""
        raise UsageError(f"{place}: {key + ': ' if key else ''}{message}{got}") from error


def sections_of(kind: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The sections of nested settings, by name."""
    found = {}
    for name, field in kind.model_fields.items():
        for choice in (field.annotation, *get_args(field.annotation)):
            if isinstance(choice, type) and issubclass(choice, BaseModel):
                found[name] = choice
    return found


def _is_type_name(part: Any) -> bool:
    # Pydantic names the alternative of a union within a place: ("data", "num_frames", "constrained-int").
    return isinstance(part, str) and (not part.isidentifier() or part in ("int", "float", "str"))


def read_words(words: Sequence[str]) -> dict[str, Any]:
    """`key=value` words of the command line; values are YAML, so that 3 is a number and null is nothing.

    Raises:
        UsageError: A word is no such pair.
    """
    values = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"{word!r} is no setting; write key=value, such as training.seed=3")
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"{word}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    return values


def override(values: Mapping[str, Any], changes: Mapping[str, Any], kind: type[BaseModel]) -> dict[str, Any]:
    """Nested settings with single ones put over them.

    Args:
        values: Nested, as a config has them.
        changes: By `training.seed`, or by `seed` where one section alone has that key. `model: small` or `paper` in
            place of the section takes that size, and leaves what is no size as it is; `auto` leaves the whole model
            to the data, or to the weights to start from.
        kind: Which settings they are.

    Raises:
        UsageError: No such key, or several sections have it.
    """
    result = {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}
    for key, value in changes.items():
        section, name = _place_of(key, kind)
        if section is None:
            there = result.get(name)
            if isinstance(there, Mapping) and isinstance(value, str) and value != "auto":
                value = {word: there[word] for word in there if word not in SIZES} | {"size": value}
            result[name] = value
        else:
            there = result.get(section)
            if isinstance(there, str):
                # A word in place of a section, `model: auto`, is its size, and stays so beside one setting of it.
                there = {"size": there}
            result[section] = {**(there or {}), name: value}
    return result


def split_words(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The config among the words of a command line, if there is one, and its `key=value` pairs.

    Raises:
        UsageError: There are several, or it is a skeleton file.
    """
    configs = [word for word in words if "=" not in word]
    for word in configs:
        if Path(word).suffix in (".pkl", ".pickle"):
            raise UsageError(f"{word} is no config; did you mean --data {word}?")
    if len(configs) > 1:
        raise UsageError(f"one config at a time: {' or '.join(configs)}; a config can say `extends: OTHER`")
    return (configs[0] if configs else None), [word for word in words if "=" in word]


def changed(
    values: Mapping[str, Any], pairs: Sequence[str], options: Mapping[str, Any], kind: type[BaseModel]
) -> dict[str, Any]:
    """Nested settings with those of a command line put over them: its pairs, then its options that were given."""
    given = {name: value for name, value in options.items() if value is not None}
    return override(override(values, read_words(pairs), kind), given, kind)


def _place_of(key: str, kind: type[BaseModel]) -> tuple[str | None, str]:
    """Section and name of a key, which may come without its section."""
    sections = sections_of(kind)
    places = [(None, name) for name in kind.model_fields] + [
        (section, name) for section, within in sections.items() for name in within.model_fields
    ]
    full = {f"{section}.{name}" if section else name: (section, name) for section, name in places}
    if key in full:
        return full[key]
    bare = [dotted for dotted in full if dotted.rpartition(".")[2] == key]
    if len(bare) == 1:
        return full[bare[0]]
    if bare:
        raise UsageError(f"{key!r} could be {' or '.join(bare)}; write which")
    names = {**{dotted.rpartition(".")[2]: dotted for dotted in full}, **{dotted: dotted for dotted in full}}
    near = difflib.get_close_matches(key, names, n=1)
    hint = f"; did you mean {names[near[0]]!r}?" if near else ""
    raise UsageError(f"unknown setting {key!r}{hint}")


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


def read_config(name: str, kind: type[BaseModel] = ExtractSettings) -> dict[str, Any]:
    """The values in a config file, over those of the file that its `extends` names, if it has one.

    Args:
        name: A path, or the name of a config that comes with the package.
        kind: Which settings they are.

    Raises:
        UsageError: There is no such file, or it is not a YAML mapping of known settings.
    """
    values = _read_chain(name, ())
    parse(values, kind, place=str(find_config(name)))
    return values


def _read_chain(name: str, seen: tuple[Path, ...]) -> dict[str, Any]:
    path = find_config(name).resolve()
    if path in seen:
        raise UsageError(f"{path}: extends itself, by way of {' and '.join(map(str, seen))}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: cannot be read as YAML ({error})") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: holds {type(values).__name__}, not settings as `name: value` lines")
    base = values.pop(EXTENDS, None)
    if base is None:
        return values
    beside = (path.parent / str(base)).resolve()
    under = _read_chain(str(beside) if beside.is_file() else str(base), (*seen, path))
    for key, value in values.items():
        there = under.get(key)
        under[key] = {**there, **value} if isinstance(there, dict) and isinstance(value, dict) else value
    return under
