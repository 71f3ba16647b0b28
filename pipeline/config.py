"""Typed settings. Unknown keys and wrong types are refused; the message suggests the nearest known key."""

import difflib
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pose_extraction.errors import UsageError
from pose_extraction.files import exists
from pose_extraction.yaml_text import read_yaml, yaml_reason
from recognition.settings import SIZES

CONFIG_FOLDER = "configs"
# Key of a config that names its base config, by path relative to the file or by name.
EXTENDS = "extends"

# Pydantic's words, and shorter ones.
_PLAINER = {
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "a valid integer": "an integer",
    "a valid number": "a number",
    "a valid string": "text",
    "a valid boolean": "true or false",
}

# First line of the configs of the package: the command that they are for.
_USE = re.compile(r"# (skelpipe \w+)")

Settings = TypeVar("Settings", bound=BaseModel)


def parse(values: Mapping[str, Any], kind: type[Settings], *, place: str | None) -> Settings:
    """Validates settings and fills in defaults.

    Args:
        values: Values by name, nested by section.
        kind: Class of the settings.
        place: Origin of the values, for error messages; None for options of a command, which are named as such.

    Raises:
        UsageError: A key is unknown, or a value is of the wrong type or out of range.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        # For a union of types, the error within one of them is more specific than the type mismatch with another.
        first = max(error.errors(), key=lambda one: len(one["loc"]))
        path = [str(part) for part in first["loc"] if not _is_type_name(part)]
        if first["type"] == "extra_forbidden":
            # An unknown key may look like anything.
            path = [str(part) for part in first["loc"][:-1] if not _is_type_name(part)] + [str(first["loc"][-1])]
        key = ".".join(path)
        if first["type"] == "extra_forbidden":
            section: type[BaseModel] = kind
            for part in path[:-1]:
                # A number is an index into a list; the settings of its items are those of the field.
                section = sections_of(section).get(part, section)
            raise UsageError(f"{place}: unknown setting {key!r}; {_hint_of(section, path)}") from error
        if first["type"] == "missing":
            raise UsageError(f"{place}: the setting {key!r} is missing") from error
        message = expected([one for one in error.errors() if one["loc"][: len(path)] == first["loc"][: len(path)]])
        if place is None:
            raise UsageError(f"{_option(key)} {first['input']}: {message}" if key else message) from error
        got = f" (got {first['input']!r})" if key else ""
        raise UsageError(f"{place}: {key + ': ' if key else ''}{message}{got}") from error


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def expected(errors: Sequence[Mapping[str, Any]]) -> str:
    """What pydantic expected of one value, in this project's words; a union of types gives one error per type."""
    messages = [one["msg"].removeprefix("Value error, ").partition(", unable to parse")[0] for one in errors]
    alternatives = [text.removeprefix("Input should be ") for text in messages if text.startswith("Input should be ")]
    if len(alternatives) == len(messages):
        text = f"must be {' or '.join(dict.fromkeys(alternatives))}"
        for theirs, ours in _PLAINER.items():
            text = text.replace(theirs, ours)
        return text
    return next(text for text in messages if not text.startswith("Input should be "))


def sections_of(kind: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Classes of the sections of nested settings, by name."""
    found = {}
    for name, field in kind.model_fields.items():
        for choice in (field.annotation, *get_args(field.annotation)):
            if isinstance(choice, type) and issubclass(choice, BaseModel):
                found[name] = choice
    return found


def _is_type_name(part: Any) -> bool:
    # Pydantic includes the alternative of a union in the location: ("data", "num_frames", "constrained-int").
    return isinstance(part, str) and (not part.isidentifier() or part in ("int", "float", "str"))


def read_words(words: Sequence[str]) -> dict[str, Any]:
    """Parses `key=value` arguments; values are YAML, so that 3 is a number and null is None.

    Args:
        words: The arguments.

    Raises:
        UsageError: An argument is not a valid pair.
    """
    values = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"{word!r} is not a setting; write key=value, such as training.seed=3")
        try:
            values[key] = read_yaml(text)
        except yaml.YAMLError as error:
            raise UsageError(f"{word}: invalid YAML ({yaml_reason(error)})") from error
    return values


def override(values: Mapping[str, Any], changes: Mapping[str, Any], kind: type[BaseModel]) -> dict[str, Any]:
    """Overrides single values of nested settings.

    Args:
        values: Nested settings, as in a config.
        changes: Values by key: `training.seed`, or `seed` if only one section has that key. `model: small` or
            `model: paper` sets the size of the model and keeps its other settings; with `model: auto` the data, or the
            initial weights, decide the whole model.
        kind: Class of the settings.

    Raises:
        UsageError: A key is unknown or ambiguous.
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
                # A word instead of a section, such as `model: auto`, is its size; keep it when a setting is added.
                there = {"size": there}
            result[section] = {**(there or {}), name: value}
    return result


def split_words(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Splits positional arguments into a config, if any, and `key=value` pairs.

    Args:
        words: The arguments.

    Raises:
        UsageError: There are several configs, or a skeleton file is given as config.
    """
    configs = [word for word in words if "=" not in word]
    for word in configs:
        if Path(word).suffix in (".pkl", ".pickle", ".parquet"):
            raise UsageError(f"{word} is not a config; did you mean --data {word}?")
    if len(configs) > 1:
        raise UsageError(
            f"only one config is allowed: {' or '.join(configs)}; a setting is written KEY=VALUE, and a config can use "
            "`extends: OTHER`"
        )
    return (configs[0] if configs else None), [word for word in words if "=" in word]


def changed(
    values: Mapping[str, Any], pairs: Sequence[str], options: Mapping[str, Any], kind: type[BaseModel]
) -> dict[str, Any]:
    """Overrides nested settings with those of a command line.

    Args:
        values: Nested settings, as in a config.
        pairs: `key=value` arguments.
        options: Values by dotted name, which override the pairs; None for options that were not given.
        kind: Class of the settings.

    Raises:
        UsageError: A key is unknown or ambiguous.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return override(override(values, read_words(pairs), kind), given, kind)


def _place_of(key: str, kind: type[BaseModel]) -> tuple[str | None, str]:
    """Section and name of a key, whose section may be omitted."""
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
        raise UsageError(f"{key!r} is ambiguous; write {' or '.join(bare)}")
    raise UsageError(
        f"unknown setting {key!r}; {_hint(key, [dotted for dotted in full if dotted not in sections], kind)}"
    )


def _hint(key: str, settings: Sequence[str], kind: type[BaseModel]) -> str:
    """What to write instead of an unknown key, given the settings by their dotted names."""
    section, _, name = key.rpartition(".")
    sections = sections_of(kind)
    if section in sections:
        return _hint_of(sections[section], [section, name])
    names = {**{dotted.rpartition(".")[2]: dotted for dotted in settings}, **{dotted: dotted for dotted in settings}}
    near = difflib.get_close_matches(key, names, n=1)
    if near:
        return f"did you mean {names[near[0]]!r}?"
    return f"there are {', '.join(f'{own}...' if own in sections else own for own in kind.model_fields)}"


def _hint_of(section: type[BaseModel], path: Sequence[str]) -> str:
    """What to write instead of an unknown key, given the class of its section and its parts."""
    *within, name = path
    near = difflib.get_close_matches(name, section.model_fields, n=1)
    if near:
        return f"did you mean {'.'.join([*within, near[0]])!r}?"
    return f"{'.'.join(within) + ' has' if within else 'there are'} {', '.join(section.model_fields)}"


def find_config(name: str) -> Path:
    """Finds a config by path, or by name in the `configs` folder of the package.

    Args:
        name: Path, or name such as `extract/accurate`.

    Raises:
        UsageError: The config does not exist; the message lists the available ones.
    """
    own = Path(name)
    if exists(own) and own.is_file():
        return own
    folder = shipped_configs()
    shipped = folder / f"{name.removesuffix('.yaml')}.yaml"
    if exists(shipped) and shipped.is_file():
        return shipped
    known = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"such as {', '.join(near)}" if near else "such as custom or small"
    raise UsageError(
        f"unknown config {name}; give the path of a YAML file, or the name of a config in the package, {hint} (all "
        f"{len(known)} are in {folder})"
    )


def shipped_configs() -> Path:
    """The `configs` folder: inside the package if installed from a wheel, next to it in a checkout."""
    inside = Path(str(resources.files("pipeline"))) / CONFIG_FOLDER
    return inside if inside.is_dir() else inside.parents[1] / CONFIG_FOLDER


def read_config(name: str, kind: type[BaseModel]) -> dict[str, Any]:
    """Reads a config, and the configs that it extends.

    Args:
        name: Path, or name of a config of the package.
        kind: Class of the settings.

    Raises:
        UsageError: The file does not exist, or is not a YAML mapping of known settings.
    """
    values = _read_chain(name, ())
    parse_file(find_config(name), values, kind)
    return values


def parse_file(path: Path, values: Mapping[str, Any], kind: type[Settings]) -> Settings:
    """Validates the content of a config file, as `parse` does; errors name the command that the file is for.

    Args:
        path: The file.
        values: Its values by name, nested by section.
        kind: Class of the settings.

    Raises:
        UsageError: A key is unknown or missing, or a value is of the wrong type or out of range.
    """
    try:
        return parse(values, kind, place=str(path))
    except UsageError as error:
        use = _USE.match(path.read_text(encoding="utf-8"))
        hint = f" (it is a config of `{use[1]}`)" if use else ""
        raise UsageError(f"{error}{hint}") from error


def _read_chain(name: str, seen: tuple[Path, ...]) -> dict[str, Any]:
    path = find_config(name).resolve()
    if path in seen:
        raise UsageError(f"{path}: extends itself via {' and '.join(map(str, seen))}")
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: cannot be read as YAML ({yaml_reason(error)})") from error
    if values is None:
        # An empty file, or one with comments only.
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: contains a {type(values).__name__}, not settings as `name: value` lines")
    base = values.pop(EXTENDS, None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise UsageError(f"{path}: {EXTENDS}: must be the name or the path of a config (got {base!r:.80})")
    neighbour = path.parent / base
    try:
        under = _read_chain(str(neighbour) if exists(neighbour) and neighbour.is_file() else base, (*seen, path))
    except UsageError as error:
        raise UsageError(f"{path}: {EXTENDS}: {error}") from error
    for key, value in values.items():
        there = under.get(key)
        under[key] = {**there, **value} if isinstance(there, dict) and isinstance(value, dict) else value
    return under
