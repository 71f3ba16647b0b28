"""Any settings are read as they were written, or refused with a message that names the place."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import event, given
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline.config import override, parse, read_config, read_words, sections_of
from pipeline.extract.settings import ExtractSettings
from pose_extraction.errors import UsageError
from pose_extraction.yaml_text import read_yaml
from recognition.pretraining.settings import PretrainSettings
from recognition.settings import RunSettings

KINDS: list[type[BaseModel]] = [RunSettings, PretrainSettings, ExtractSettings]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 400),
    st.integers(),
    st.floats(),
    st.floats(0, 1),
    st.sampled_from(
        ["auto", "fp32", "small", "010", "1:30", "1e3", "1e-3", "2020-01-01", "no", "0x10", "~", "", "1_0"]
    ),
    st.text(max_size=8),
)
VALUES = st.one_of(
    SCALARS,
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.lists(st.floats(0, 3), min_size=2, max_size=2),
    st.dictionaries(st.text(max_size=4), SCALARS, max_size=2),
)
# YAML that is easily misread, with tags, aliases and merged mappings.
ODD_YAML = st.sampled_from(
    [
        "a: 2020-13-45", "a: !!int x", "a: !!timestamp x", "a: !!float ''", "a: !!binary x", "a: &a [*a]", "&a {a: *a}",
        "a: " + "9" * 5000, "a: 0o17", "a: =", "<<: 3", "? [a]\n: 1", "a: 1\na: 2", "[" * 900, "--- a\n--- b",
        "extends: 3", "extends: [custom]", 'extends: "a\\0b"', f"extends: {'a' * 300}", "extends: custom", "0", "false",
        "1: 2", "null: 1", "data: 3", "data: {file: 2020-01-01}", "training: {seed: 010}", "training: {lr_steps: 1:30}",
        "data: {1: 2}", "model: [small]", "model: small", "seed: 3", '"\\ud800": 1', "a: !!python/object:os.system x",
        "a: !!set {b}", "a: !!omap [b: 1]", "a: !!pairs [b: 1]", "!!map {? {a: 1} : 2}", "a: .inf", "a: .nan", "a: -.5",
    ]
)  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configs") / "own.yaml"


@st.composite
def settings_of_a_kind(draw: st.DrawFn) -> tuple[type[BaseModel], dict[str, Any]]:
    """Return a kind of settings, and values for one to four of them."""
    kind = draw(st.sampled_from(KINDS))
    places = [(None, name) for name in kind.model_fields]
    for section, within in sections_of(kind).items():
        places += [(section, name) for name in within.model_fields] * 2
    values: dict[str, Any] = {}
    for section, name in draw(st.lists(st.sampled_from(places), min_size=1, max_size=4)):
        value = draw(VALUES)
        if section is None:
            values[name] = value
        elif isinstance(values.setdefault(section, {}), dict):
            values[section][name] = value
    return kind, values


@given(chosen=settings_of_a_kind())
def test_settings_are_refused_or_stored_and_read_back(chosen: tuple[type[BaseModel], dict[str, Any]]) -> None:
    kind, values = chosen
    try:
        parsed = parse(values, kind, place="own.yaml")
    except UsageError as error:
        event("refused")
        assert str(error).startswith("own.yaml: "), error
        return
    event("read")
    stored = yaml.safe_dump(parsed.model_dump(mode="json"), sort_keys=False)
    assert parse(read_yaml(stored), kind, place="settings.yaml") == parsed


@given(chosen=settings_of_a_kind())
def test_a_config_means_what_it_says(path: Path, chosen: tuple[type[BaseModel], dict[str, Any]]) -> None:
    """A config with values, and the same values on the command line, are the same settings."""
    kind, values = chosen
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    words = [
        f"{name}.{key}={yaml.safe_dump(one, default_flow_style=True)}" if nested else f"{name}={yaml.safe_dump(one)}"
        for name, value in values.items()
        for nested in [name in sections_of(kind) and isinstance(value, dict)]
        for key, one in (value.items() if nested else [(name, value)])
    ]
    try:
        from_file = parse(read_config(str(path), kind), kind, place=str(path))
        from_words = parse(override({}, read_words(words), kind), kind, place="the command line")
    except UsageError as error:
        assert str(path) in str(error) or "the command line" in str(error), error
        return
    event("read")
    assert from_file == parse(values, kind, place="memory") == from_words


@given(
    text=st.one_of(ODD_YAML, st.text(max_size=40), st.lists(ODD_YAML, max_size=3).map("\n".join)),
    kind=st.sampled_from(KINDS),
)
def test_any_text_is_a_config_or_refused(path: Path, text: str, kind: type[BaseModel]) -> None:
    path.write_text(text, encoding="utf-8")
    try:
        parse(read_config(str(path), kind), kind, place=str(path))
    except UsageError as error:
        assert "\n" not in str(error)
        assert path.name in str(error), error


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("0x10", 16),
        ("1_000", 1000),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("1.5e-3", 0.0015),
        ("-2", -2),
        ("no", False),
        ("~", None),
    ],
)
def test_numbers_are_decimal_and_dates_are_text(text: str, value: object) -> None:
    assert read_words([f"training.seed={text}"]) == {"training.seed": value}


def test_a_setting_that_is_given_twice_is_refused(path: Path) -> None:
    """The second mapping would replace the first one, and with it the settings that only that one has."""
    path.write_text("training: {seed: 3}\ntraining: {phase1_epochs: 1}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"line 2, column 1: the key 'training' occurs twice; delete one"):
        read_config(str(path), RunSettings)
