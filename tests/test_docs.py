"""What README and docs/ tell a reader to type, open or expect is there."""

import importlib.util
import re
from pathlib import Path

import pytest
import typer.main

from pipeline.cli import app
from pipeline.config import find_config
from recognition.pretraining.settings import PretrainSettings
from recognition.settings import RunSettings
from test_support.doc_pages import PAGES, ROOT, anchors, blocks, section

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
by_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def commands_of(path: Path) -> list[str]:
    """Lines of a page's code that call a program, continued ones as one, without what they say of themselves."""
    text = "\n".join(blocks(_text(path))).replace("\\\n", " ")
    inline = re.findall(r"`((?:skelpipe|python) [^`\n]+)`", _text(path))
    return [re.split(r"\s#\s", line)[0].strip() for line in [*text.splitlines(), *inline]]


@by_page
def test_every_command_and_option_exists(path: Path) -> None:
    for line in commands_of(path):
        called = re.match(r"(?:\.venv/bin/)?skelpipe (\w+)(.*)", line)
        if called is None:
            continue
        name, rest = called.groups()
        assert name in COMMANDS, line
        known = {
            option for parameter in COMMANDS[name].params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= known | {"--help"}, line


def test_every_command_that_a_message_names_exists() -> None:
    for package in ("pipeline", "pose_extraction", "recognition"):
        for path in sorted((ROOT / package).rglob("*.py")):
            named = re.findall(r"`skelpipe (\w+)", _text(path))
            assert set(named) <= set(COMMANDS), path


@by_page
def test_every_config_exists(path: Path) -> None:
    text = _text(path)
    named = re.findall(r"--config ((?:extract|small|custom)[\w/]*)", text)
    named += re.findall(r"skelpipe (?:train|pretrain|sweep) ([a-z]\w*(?:/\w+)+)", text)
    named += re.findall(r"`((?:maskclr|cross_entropy|baselines|ablations|mamp|pcm3|extract)/[a-z0-9_]+)`", text)
    for name in named:
        assert find_config(name), name


def keys_of(model: type) -> set[str]:
    """Names of settings, with and without their section."""
    found: set[str] = set()
    for name, field in model.model_fields.items():  # type: ignore[attr-defined]
        inner = getattr(field.annotation, "model_fields", {})
        found |= {name, *inner, *(f"{name}.{key}" for key in inner)}
    return found


@by_page
def test_every_setting_of_a_training_exists(path: Path) -> None:
    known = keys_of(RunSettings) | keys_of(PretrainSettings)
    for line in commands_of(path):
        if re.match(r"skelpipe (?:train|pretrain|sweep)\b", line):
            named = re.findall(r"(?<!\S)'?([a-z]\w*(?:\.\w+)?)=", line)
            assert set(named) <= known, line


@by_page
def test_every_script_and_module_exists(path: Path) -> None:
    for line in commands_of(path):
        script = re.match(r"(?:\.venv/bin/)?python (benchmarks/\S+\.py)", line)
        module = re.match(r"(?:\.venv/bin/)?python -m (\S+)", line)
        assert script is None or (ROOT / script[1]).is_file(), line
        assert module is None or importlib.util.find_spec(module[1]) is not None, line


@by_page
def test_every_file_of_the_project_that_is_named_exists(path: Path) -> None:
    named = re.findall(
        r"`((?:pose_extraction|recognition|pipeline|benchmarks|tests|configs)/[\w/]+\.\w+)`", _text(path)
    )
    for name in named:
        # The page on backbones has its reader make one.
        assert (ROOT / name).is_file() or name.endswith("/gated.py"), name


def test_defaults_that_are_told_are_those_of_the_settings() -> None:
    text = section(_text(ROOT / "docs" / "methods.md"), "MaskCLR: numbers")
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \| (\S+) \|", text, re.MULTILINE)
    assert len(rows) > 15
    for part, key, told in rows:
        assert float(told) == getattr(getattr(RunSettings(), part), key), key


@by_page
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _text(path)):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        assert place.exists(), f"{path.name}: {target}"
        if anchor:
            assert anchor in anchors(place.read_text(encoding="utf-8")), f"{path.name}: {target}"


@by_page
def test_every_python_block_can_be_read(path: Path) -> None:
    for block in blocks(_text(path)):
        if re.match(r"(?:from|import) ", block):
            compile(block, str(path), "exec")


def test_every_page_is_led_to_from_readme() -> None:
    readme = PAGES[0].read_text(encoding="utf-8")
    for path in PAGES[1:]:
        assert f"docs/{path.name}" in readme, path.name


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_the_options_that_pages_give_a_benchmark_are_its_own(script: Path) -> None:
    lines = [line for path in PAGES for line in commands_of(path) if f"python benchmarks/{script.name}" in line]
    wanted = {option for line in lines for option in re.findall(r"(?<!\S)--[a-z-]+", line)}
    if not wanted:
        pytest.skip(f"no page calls {script.name} with an option")
    own = set(re.findall(r"add_argument\(\s*\"(--[a-z-]+)\"", script.read_text(encoding="utf-8")))
    assert wanted <= own, lines
