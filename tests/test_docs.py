"""Commands, options, settings, files and links in the documentation exist, and code blocks are valid."""

import importlib.util
import re
from pathlib import Path

import pytest
import typer.main
import yaml

from pipeline.cli import app
from pipeline.config import find_config
from pose_extraction.networks.model_zoo import lookup
from pose_extraction.networks.onnx_models import DetectorNotes, EstimatorNotes
from recognition.pretraining.settings import PretrainSettings
from recognition.settings import RunSettings
from test_support.doc_pages import PAGES, ROOT, anchors, blocks, page, section

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
by_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def commands_of(path: Path) -> list[str]:
    """Commands in the code of a page, without comments; continued lines are joined."""
    text = "\n".join(blocks(_text(path), "bash")).replace("\\\n", " ")
    inline = re.findall(r"`((?:skelpipe|python) [^`\n]+)`", _text(path))
    return [re.split(r"\s#\s", line)[0].strip() for line in [*text.splitlines(), *inline]]


@by_page
def test_every_command_and_option_exists(path: Path) -> None:
    for line in commands_of(path):
        called = re.match(r"(?:\.venv/bin/)?skelpipe ([a-z][a-z-]*)(.*)", line)
        if called is None:
            continue
        name, rest = called.groups()
        assert name in COMMANDS, line
        known = {
            option for parameter in COMMANDS[name].params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        assert set(re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", rest)) <= known | {"--help"}, line


def test_every_command_in_a_message_exists() -> None:
    for package in ("pipeline", "pose_extraction", "recognition", "skelpipe"):
        for path in sorted((ROOT / package).rglob("*.py")):
            named = re.findall(r"`skelpipe (\w[\w-]*)", _text(path))
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
    """Keys of settings, with and without their section."""
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
def test_every_file_of_the_project_exists(path: Path) -> None:
    named = re.findall(
        r"`((?:pose_extraction|recognition|pipeline|benchmarks|tests|configs)/[\w/]+\.\w+)`", _text(path)
    )
    for name in named:
        # NAME stands for several files; the reader of the page on backbones creates gated.py.
        assert (ROOT / name).is_file() or name.endswith(("/NAME.py", "/gated.py")), name


def test_documented_defaults_are_those_of_the_settings() -> None:
    text = section(_text(ROOT / "docs" / "methods.md"), "MaskCLR: numbers")
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \| (\S+) \|", text, re.MULTILINE)
    assert len(rows) > 15
    for part, key, value in rows:
        assert float(value) == getattr(getattr(RunSettings(), part), key), key


@by_page
def test_every_link_has_a_target(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _text(path)):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        assert place.exists(), f"{path.name}: {target}"
        if anchor:
            assert anchor in anchors(place.read_text(encoding="utf-8")), f"{path.name}: {target}"


@by_page
def test_every_code_block_has_a_language_and_is_valid(path: Path) -> None:
    text = _text(path)
    assert text.count("\n```") == 2 * len(blocks(text)), "a block has no language or no end"
    for block in blocks(text, "python"):
        compile(block, str(path), "exec")
    for block in blocks(text, "yaml"):
        yaml.safe_load(block)


def test_every_network_in_the_table_exists() -> None:
    names: list[str] = []
    for row in re.findall(r"^\| (`.*?) \|", section(page("networks.md"), "Estimators and detectors"), re.MULTILINE):
        for name in re.findall(r"`([\w-]+)`", row):
            # `-s` after `vitpose-b` is short for `vitpose-s`.
            names.append(names[-1].rsplit("-", 1)[0] + name if name.startswith("-") else name)
    assert len(names) > 15
    for name in names:
        lookup(name)


def test_the_documented_keys_and_defaults_of_onnx_files_are_those_of_the_code() -> None:
    examples = blocks(section(page("networks.md"), "Networks in ONNX files"), "yaml")
    for example, notes in zip(examples, (EstimatorNotes, DetectorNotes), strict=True):
        values = yaml.safe_load(example)
        assert set(values) == set(notes.model_fields)  # type: ignore[attr-defined]
        assert notes.model_validate(values) == notes()  # type: ignore[attr-defined]


def test_readme_links_to_every_page() -> None:
    readme = _text(PAGES[0])
    for path in PAGES[1:]:
        assert f"]({path.relative_to(ROOT)})" in readme, path.name


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_the_documented_options_of_a_benchmark_exist(script: Path) -> None:
    lines = [line for path in PAGES for line in commands_of(path) if f"python benchmarks/{script.name}" in line]
    wanted = {option for line in lines for option in re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", line)}
    if not wanted:
        pytest.skip(f"no page calls {script.name} with an option")
    own = set(re.findall(r"add_argument\(\s*\"(--[a-z-]+)\"", script.read_text(encoding="utf-8")))
    assert wanted <= own, lines
