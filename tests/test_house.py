"""The rules of the house that no single package can hold: who imports whom, and what no file may say or do."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pose_extraction", "recognition", "pipeline")
# What stage two may know of stage one: its output format.
FORMAT_MODULES = {"_version", "skeleton", "poses", "annotations", "pickles", "validation", "files", "errors"}
# And what both stages need to run a network: where it runs, and how its weights are read.
ENGINE_MODULES = {"backends", "checkpoints", "openvino_cache", "openvino_core"}
# Who may open files that could carry code, because they admit data only.
SAFE_READERS = {"pose_extraction/pickles.py", "pose_extraction/checkpoints.py"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports_of(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Full names of what a file imports, `a.b.c` for `from a.b import c` as well."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        yield node
        for child in ast.iter_child_nodes(node):
            if not (top_level_only and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
                yield from walk(child)

    for node in walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def tracked_files() -> list[Path]:
    """Files that are in the repository, or about to be; all files where there is no repository."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True
    )
    if listing.returncode:
        pytest.skip("not a git checkout, so there is no telling which files are the project's")
    paths = (ROOT / name for name in listing.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def test_stage_one_knows_nothing_of_actions_or_the_command() -> None:
    for path in modules("pose_extraction"):
        wrong = [name for name in imports_of(path) if name.split(".")[0] in ("recognition", "pipeline")]
        assert not wrong, f"{path} imports {wrong}"


def test_stage_two_knows_only_the_format_and_the_engines_of_stage_one() -> None:
    for path in modules("recognition"):
        names = list(imports_of(path))
        assert not [name for name in names if name.startswith("pipeline.") or name == "pipeline"], path
        known = {name.split(".")[1] for name in names if name.startswith("pose_extraction.")}
        wrong = known - FORMAT_MODULES - ENGINE_MODULES
        assert not wrong, f"{path} imports {wrong} of pose_extraction"
        assert not {"av", "mmpose", "mmdet", "openpifpaf"} & {name.split(".")[0] for name in names}, path


def test_the_format_of_stage_one_brings_no_network_library_along() -> None:
    """Reading skeletons must not need, or wait for, what made them."""
    names = sorted(FORMAT_MODULES)
    loaded = loaded_by("import " + ", ".join(f"pose_extraction.{name}" for name in names))
    assert not loaded & {"torch", "cv2", "av", "mmpose", "onnxruntime", "openvino", "openpifpaf"}


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    [
        "import pipeline.cli",
        "import sys\nsys.argv = ['skelpipe', '--help']\nimport pipeline.cli\n"
        "try:\n    pipeline.cli.main()\nexcept SystemExit:\n    pass",
        "import sys\nsys.argv = ['skelpipe', 'extract', '--help']\nimport pipeline.cli\n"
        "try:\n    pipeline.cli.main()\nexcept SystemExit:\n    pass",
        "import sys\nsys.argv = ['skelpipe', 'train', '--help']\nimport pipeline.cli\n"
        "try:\n    pipeline.cli.main()\nexcept SystemExit:\n    pass",
        "import sys\nsys.argv = ['skelpipe', 'evaluate', '--help']\nimport pipeline.cli\n"
        "try:\n    pipeline.cli.main()\nexcept SystemExit:\n    pass",
        "import sys\nsys.argv = ['skelpipe', 'predict', '--help']\nimport pipeline.cli\n"
        "try:\n    pipeline.cli.main()\nexcept SystemExit:\n    pass",
    ],
    ids=["import", "help", "extract help", "train help", "evaluate help", "predict help"],
)
def test_the_command_asks_for_nothing_heavy_before_it_works(statement: str) -> None:
    heavy = {
        "torch",
        "numpy",
        "cv2",
        "av",
        "scipy",
        "mmpose",
        "mmdet",
        "mmengine",
        "onnxruntime",
        "openvino",
        "openpifpaf",
    }
    assert not loaded_by(statement) & heavy


def test_openpifpaf_is_imported_only_when_it_is_chosen() -> None:
    """AGPL-3.0: nothing loads it on the way to something else."""
    for package in PACKAGES:
        for path in modules(package):
            names = list(imports_of(path, top_level_only=True))
            allowed = path.name.startswith("openpifpaf") or path.name == "composite_fields.py"
            theirs = [name for name in names if name.split(".")[0] == "openpifpaf"]
            assert not theirs, f"{path} imports {theirs} when it is itself imported"
            ours = [
                name for name in names if name.startswith(("pose_extraction.openpifpaf", "pose_extraction.composite"))
            ]
            assert allowed or not ours or under_type_checking(path, ours), f"{path} imports {ours}"


def under_type_checking(path: Path, names: list[str]) -> bool:
    """Whether a file has these imports for the type checker alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    found = {
        f"{statement.module}.{alias.name}"
        for block in guarded
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    return set(names) <= found


def test_files_that_could_carry_code_are_opened_by_the_safe_readers_alone() -> None:
    for package in PACKAGES:
        for path in modules(package):
            if path.relative_to(ROOT).as_posix() in SAFE_READERS:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    assert not re.fullmatch(r"(pickle|torch|joblib|dill)\.(load|loads|Unpickler)", called), (
                        f"{path}:{node.lineno} calls {called}"
                    )
                    assert called != "yaml.load" or "Loader=_YamlLoader" in ast.unparse(node), f"{path}:{node.lineno}"
                    assert called != "np.load" or "allow_pickle=True" not in ast.unparse(node), f"{path}:{node.lineno}"


def test_no_file_depends_on_one_machine_or_names_a_registry() -> None:
    # Put together here, so that this file does not hold what it looks for.
    places = "|".join(re.escape(f"/{folder}/") for folder in ("home", "root", "work", "Users", "mnt", "data1"))
    registries = "|".join(re.escape(name) for name in ("pypi" + ".org", "python" + "hosted.org", "hugging" + "face.co"))
    wrong = re.compile(rf"(?<![\w.~$}}-])(?:{places})|{registries}")
    for path in tracked_files():
        if path.name == "uv.lock":
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            assert not wrong.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
