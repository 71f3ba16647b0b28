"""`import skelpipe` is fast, offers typed names, and notices packages of other projects with the same names."""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import skelpipe
from pipeline.cluster.options import CLUSTER_NAMES
from pipeline.extract.settings import ExtractSettings
from skelpipe.extraction import ExtractOptions
from test_support.doc_pages import ROOT

HEAVY = ("torch", "numpy", "cv2", "av", "pydantic", "typer", "rich", "matplotlib")


def python(*words: str, path: tuple[Path, ...] = (), folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter that finds the packages in `path` before those of the project."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))}
    return subprocess.run(
        [sys.executable, *words], cwd=folder or ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("words", ["import skelpipe; skelpipe.extract, skelpipe.read_skeletons", "import skelpipe"])
def test_the_import_loads_nothing_heavy(words):
    done = python("-c", f"{words}\nimport sys; print([name for name in {HEAVY} if name in sys.modules])")
    assert done.stdout == "[]\n", done.stderr


def test_the_command_loads_nothing_heavy_for_its_help():
    program = (
        "import sys\nfrom skelpipe.__main__ import main\ntry:\n    main()\nfinally:\n"
        "    print('loaded', [name for name in ('torch', 'numpy', 'cv2', 'av') if name in sys.modules])"
    )
    done = python("-c", program, "--help")
    assert done.returncode == 0 and done.stdout.rstrip().endswith("loaded []"), done.stderr


def test_type_checkers_see_what_is_imported_at_the_first_use():
    tree = ast.parse((ROOT / "skelpipe" / "__init__.py").read_text(encoding="utf-8"))
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {
        alias.asname or alias.name: (statement.module, alias.name)
        for statement in guarded.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert seen == skelpipe._PLACES
    assert set(skelpipe.__all__) == {*seen, "__version__"}
    assert (ROOT / "skelpipe" / "py.typed").is_file()


@pytest.mark.parametrize("name", skelpipe.__all__)
def test_every_name_exists_and_is_listed(name):
    assert getattr(skelpipe, name) is not None
    assert name in dir(skelpipe)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'skelpipe' has no attribute 'extracts'"):
        skelpipe.extracts  # noqa: B018


def test_extract_has_the_options_and_defaults_of_the_command():
    parameters = inspect.signature(skelpipe.extract).parameters.values()
    named = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
    fields = ExtractSettings.model_fields
    options = named.keys() - {"labels", "overwrite"} | ExtractOptions.__annotations__.keys()
    assert options == fields.keys() | CLUSTER_NAMES
    for name in named.keys() & fields.keys():
        assert named[name] == fields[name].default, name


def fake(folder: Path, name: str) -> Path:
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    return package


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pipeline", "recognition", "pose_extraction"])
@pytest.mark.parametrize("words", [("-c", "import skelpipe"), ("-m", "skelpipe", "--help")])
def test_another_package_with_the_same_name_is_named_with_its_place(name, words, tmp_path):
    other = fake(tmp_path / "site", name)
    done = python(*words, path=(other.parent,), folder=tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: skelpipe needs its package {name!r} in {ROOT}, but Python finds another one")
    assert str(other) in last and "Rename pipeline".replace("pipeline", name) in last


def test_a_module_next_to_a_script_is_noticed(tmp_path):
    (tmp_path / "pipeline.py").write_text("")
    (tmp_path / "script.py").write_text("import skelpipe")
    done = python("script.py", folder=tmp_path)
    assert re.search(rf"ImportError: .*{re.escape(str(tmp_path / 'pipeline.py'))}", done.stderr)


def test_an_installed_package_is_named_by_its_distribution(tmp_path):
    site = tmp_path / "site-packages"
    fake(site, "pipeline")
    metadata = site / "pipes-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pipes\nVersion: 1.0\n")
    (metadata / "top_level.txt").write_text("pipeline\n")
    done = python("-c", "import skelpipe", path=(site,), folder=tmp_path)
    assert "Uninstall pipes, or install skelpipe into a virtual environment of its own." in done.stderr


def test_a_package_that_was_imported_before_is_noticed(tmp_path):
    fake(tmp_path, "recognition")
    program = "import sys, recognition; sys.path.pop(0); import skelpipe"
    done = python("-c", program, path=(tmp_path,), folder=tmp_path)
    assert str(tmp_path / "recognition") in done.stderr


def test_a_missing_package_is_reported():
    program = (
        "from pathlib import Path\nimport importlib.util, sys\nfrom skelpipe import shadowing\n"
        "importlib.util.find_spec = lambda name: None\nshadowing.check_packages(Path('somewhere'))"
    )
    done = python("-c", program)
    assert "needs its package 'pose_extraction', but it is missing in somewhere; reinstall skelpipe" in done.stderr
