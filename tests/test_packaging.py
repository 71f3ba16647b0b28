"""What `pip install .` installs for a user without this checkout's tools and exclusions."""

import ast
import configparser
import importlib.metadata
import os
import re
import runpy
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from pose_extraction._version import __version__

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pose_extraction", "recognition", "pipeline", "skelpipe")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
# Networks that pip cannot install by name; requirements/*.txt list them.
GROUPS = ("mmlab", "openpifpaf")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("skelpipe-*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as an installer would lay it out."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run_installed(unpacked: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs python with the unpacked wheel before everything else, in a folder that has nothing to do with it."""
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_wheel_holds_the_packages_and_what_they_read_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    metadata = f"skelpipe-{__version__}.dist-info"
    assert tops == {*PACKAGES, metadata}
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    for package in PACKAGES:
        sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
        assert sources <= set(names)
    configs = {f"pipeline/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert configs and configs <= set(names)
    assert {"pose_extraction/networks/model_zoo.yaml", "pipeline/inputs/ntu_missing.txt"} <= set(names)
    assert f"{metadata}/licenses/LICENSE" in names
    assert not [name for name in names if "test" in name or name.endswith((".pyc", ".pkl", ".onnx"))]
    # The only weights are those that the project has trained itself, each with the card that says how.
    weights = {name for name in names if name.endswith(".pth")}
    assert weights == {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "pose_extraction/networks/tiny").glob("*.pth")
    }
    assert {name.replace(".pth", ".md") for name in weights} <= set(names)
    packed = {path.relative_to(ROOT).as_posix() for path in (ROOT / "recognition/weights").glob("*.safetensors")}
    assert packed == {name for name in names if name.endswith(".safetensors")}
    for ending in (".json", ".md"):
        assert {name.replace(".safetensors", ending) for name in packed} <= set(names)


def test_the_wheel_gives_the_command_its_name_and_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = f"skelpipe-{__version__}.dist-info"
        scripts = configparser.ConfigParser()
        scripts.read_string(archive.read(f"{metadata}/entry_points.txt").decode())
        text = archive.read(f"{metadata}/METADATA").decode()
    assert scripts["console_scripts"]["skelpipe"] == "skelpipe.__main__:main"
    assert "License-Expression: Apache-2.0" in text
    # A wheel that asked for any of these could not be installed: they pin dead or misfitting packages.
    plain = [line for line in text.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert not re.search(r"\b(mmpose|mmdet|mmcv|chumpy|openpifpaf|opencv-python\b(?!-headless))", "\n".join(plain))


def test_the_installed_command_and_its_configs_work_from_any_folder(unpacked: Path, tmp_path: Path) -> None:
    for module in ("skelpipe", "pipeline.cli"):
        helped = run_installed(unpacked, tmp_path, "-m", module, "--help")
        assert helped.returncode == 0 and "extract" in helped.stdout
    code = (
        "from pipeline.config import find_config, read_config\n"
        "from pipeline.extract.settings import ExtractSettings\n"
        "print(find_config('extract/accurate'), read_config('extract/accurate', ExtractSettings)['precision'])"
    )
    found = run_installed(unpacked, tmp_path, "-c", code)
    assert found.returncode == 0, found.stderr
    path, precision = found.stdout.split()
    assert Path(path).is_relative_to(unpacked) and precision == "fp32"


def third_party_imports() -> dict[str, set[str]]:
    """Top-level modules of others that the packages import, each with the files that do so."""
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module:
                    names.append(node.module)
                for name in names:
                    top = name.split(".")[0]
                    if top not in sys.stdlib_module_names and top not in PACKAGES and top != "__future__":
                        found.setdefault(top, set()).add(path.relative_to(ROOT).as_posix())
    return found


def test_everything_that_is_imported_is_asked_for() -> None:
    """What merely happens to be there, because some other package brought it, is missing from a plain installation."""
    optional = [*PROJECT["optional-dependencies"].values(), *(PYPROJECT["dependency-groups"][name] for name in GROUPS)]
    extras = [requirement for group in optional for requirement in group]
    declared = {
        re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0].lower().replace("_", "-")
        for requirement in (*PROJECT["dependencies"], *extras)
    }
    providers = importlib.metadata.packages_distributions()
    for module, files in third_party_imports().items():
        distributions = {name.lower().replace("_", "-") for name in providers.get(module, [module])}
        assert distributions & declared, f"{sorted(files)} import {module}, which pyproject.toml does not ask for"


@pytest.mark.parametrize("group", GROUPS)
def test_the_lists_for_pip_are_those_of_the_lock_file(group: str) -> None:
    script = runpy.run_path(str(ROOT / ".ci" / "export_requirements.py"))
    listed = (ROOT / "requirements" / f"{group}.txt").read_text(encoding="utf-8")
    assert listed == script["requirements"](group), "run: python .ci/export_requirements.py"
    assert f"{group if group == 'openpifpaf' else 'mmpose'}==" in listed
    assert not re.search(r"^(torch|chumpy|mmcv|mmengine|opencv-python)==", listed, re.MULTILINE)


@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def test_every_extra_can_be_installed_by_name(extra: str) -> None:
    """pip reads neither the exclusions nor the metadata in [tool.uv], so no extra may depend on them."""
    script = runpy.run_path(str(ROOT / ".ci" / "export_requirements.py"))
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    packages = {package["name"]: package for package in lock["package"]}
    names = script["reachable"](packages, packages["skelpipe"]["optional-dependencies"][extra])
    uv = PYPROJECT["tool"]["uv"]
    special = {"mmpose", "mmdet", *uv["no-build-isolation-package"]}
    assert names and not names & special


def test_the_version_is_the_same_wherever_it_is_written() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert f"version = {{{__version__}}}" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_every_file_that_a_page_for_contributors_names_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    folders = "|".join((*PACKAGES, "synthetic", "tests", "docs"))
    names = re.findall(rf"(?<![\w/])((?:{folders})/[\w/.]+\.\w+)", text)
    assert names
    for name in names:
        assert (ROOT / name).is_file(), name


def test_opencv_needs_no_display() -> None:
    """The plain wheel of OpenCV asks for libGL, which servers lack, and would hide the headless one."""
    providers = importlib.metadata.packages_distributions()["cv2"]
    assert set(providers) == {"opencv-python-headless"}
    import cv2

    assert re.search(r"GUI:\s+NONE", cv2.getBuildInformation())
