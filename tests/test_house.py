"""Rules of the code base that no single package can check: imports between packages, and what no file may contain."""

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the bottom up: a package imports from those before it, never from those after it.
PACKAGES = ("pose_extraction", "recognition", "pipeline", "skelpipe", "synthetic")
# Within a package, from the bottom up. Modules and sub-packages of one row do not import each other.
LAYERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "pose_extraction": (
        ("_version", "cache", "errors", "file_locks", "queues", "skeleton", "yaml_text"),
        ("arrays", "files"),
        ("remote",),
        ("engines", "oks", "poses", "video"),
        ("drawing", "formats", "networks", "tracking"),
        ("exchange", "streaming"),
        ("extraction",),
        ("following", "image_poses"),
    ),
    "recognition": (
        ("confidence", "distributed", "evaluation", "fabric", "keyed_noise", "optimizers", "packed", "settings"),
        ("backbones", "data"),
        ("hub", "recognizer", "run_file"),
        ("run_folder",),
        ("run_names",),
        ("maskclr", "runs"),
        ("engine",),
        ("pretraining",),
        ("training",),
        ("inference",),
        ("exporting", "protocols", "robustness"),
    ),
    "pipeline": (
        ("cluster", "config", "exit_codes", "info", "inputs", "reporting"),
        ("corrections", "datasets", "evaluate", "models", "robustness", "sharing", "train"),
        ("export_model", "extract", "protocols"),
        ("predict", "sweep"),
        ("serve",),
        ("commands",),
        ("cli",),
    ),
    "skelpipe": (
        ("exchange", "extraction", "pose_estimator", "recognizer", "shadowing", "skeletons", "training"),
        ("__main__",),
    ),
    "synthetic": (("rendering",), ("demo", "motions", "networks"), ("base",), ("everyday",)),
}
# What stage two may use of stage one: its file format, and what both stages need to run a network.
SHARED_WITH_STAGE_TWO = (
    "_version",
    "skeleton",
    "poses",
    "formats",
    "files",
    "file_locks",
    "errors",
    "cache",
    "engines",
)
# Only these may open files that could carry code, because they admit data only.
SAFE_READERS = {"pose_extraction/formats/pickles.py", "pose_extraction/engines/safe_loading.py"}
# TorchScript is a program, as SECURITY.md says: only an exported recognizer is opened as one.
RUNS_TORCHSCRIPT = "recognition/inference/exported.py"
# Modules that a command line starts, and so no other module imports.
STARTED = {"pipeline.cli"}
MOST_MODULES = 16


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    """All modules of the packages by full name."""
    return {name_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def imports_of(path: Path, *, when_loaded: bool = False) -> Iterator[str]:
    """Full names of what a file imports, `a.b.c` for `from a.b import c` as well, inside functions, too.

    Args:
        path: The file.
        when_loaded: Only what is imported when the module itself is loaded.
    """

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        yield node
        for child in ast.iter_child_nodes(node):
            if not when_loaded or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield from walk(child)

    for node in walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def graph() -> dict[str, set[str]]:
    """The modules of ours that each module imports, anywhere in it, under `TYPE_CHECKING` as well."""
    found: dict[str, set[str]] = {}
    for name, path in modules().items():
        names = {full if full in modules() else full.rpartition(".")[0] for full in imports_of(path)}
        found[name] = {other for other in names if other in modules() and other != name}
    return found


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other: what is left when nodes that lead nowhere, or come from nowhere, go."""
    left = {name: set(targets) for name, targets in edges.items()}
    while True:
        targeted = set().union(*left.values()) if left else set()
        loose = {name for name, targets in left.items() if not targets & left.keys() or name not in targeted}
        if not loose:
            return [sorted(left)] if left else []
        left = {name: targets - loose for name, targets in left.items() if name not in loose}


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert cycles(graph()) == []


def test_a_cycle_would_be_found() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_packages_import_in_one_direction() -> None:
    for name, targets in graph().items():
        package = name.split(".")[0]
        below = PACKAGES[: PACKAGES.index(package) + 1]
        wrong = [target for target in targets if target.split(".")[0] not in below]
        assert not wrong, f"{name} imports {wrong}"


def test_layers_of_a_package_import_in_one_direction() -> None:
    for package, layers in LAYERS.items():
        level = {part: number for number, row in enumerate(layers) for part in row}
        for name, targets in graph().items():
            if name.split(".")[0] != package or "." not in name:
                continue
            part = name.split(".")[1]
            assert part in level, f"{name} has no layer; give {part!r} one in LAYERS, and explain it in architecture.md"
            for target in targets:
                if target.split(".")[0] == package and target != package:
                    other = target.split(".")[1]
                    assert other == part or level[other] < level[part], f"{name} imports {target}"


def test_layers_name_what_exists() -> None:
    for package, layers in LAYERS.items():
        for part in (part for row in layers for part in row):
            assert f"{package}.{part}" in modules(), f"{package}/{part} does not exist"


def test_every_module_is_used() -> None:
    used = set().union(*graph().values()) | STARTED
    for name, path in modules().items():
        if path.name not in ("__init__.py", "__main__.py"):
            assert name in used, f"no module imports {name}"


def test_tests_share_code_in_test_support_only() -> None:
    """Other distributions install a package called `tests` (model-index), which would be imported in its place."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        wrong = [name for name in imports_of(path) if name.split(".")[0] == "tests"]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}; move what it needs to test_support/"


def test_no_folder_is_crowded() -> None:
    files = [*modules().values(), *(ROOT / "test_support").rglob("*.py")]
    crowd = Counter(path.parent for path in files if path.name != "__init__.py")
    for folder, count in crowd.items():
        assert count <= MOST_MODULES, f"{folder.relative_to(ROOT)} has {count} modules; make sub-packages"


def test_every_folder_is_documented() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for folder in {path.parent.relative_to(ROOT).as_posix() for path in modules().values()}:
        assert f"`{folder}/`" in text, f"docs/architecture.md does not describe {folder}/"


def test_stage_two_knows_only_the_format_and_the_engines_of_stage_one() -> None:
    for name, targets in graph().items():
        if name.split(".")[0] != "recognition":
            continue
        known = {target.split(".")[1] for target in targets if target.startswith("pose_extraction.")}
        wrong = known - set(SHARED_WITH_STAGE_TWO)
        assert not wrong, f"{name} imports {wrong} of pose_extraction"
        theirs = {full.split(".")[0] for full in imports_of(modules()[name])}
        assert not {"av", "mmpose", "mmdet", "openpifpaf"} & theirs, name


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_the_format_of_stage_one_brings_no_network_library_along() -> None:
    """Reading skeletons must not need, or wait for, what made them."""
    names = sorted(
        name for name in modules() if re.match(r"pose_extraction\.(skeleton|poses|formats|files|errors)", name)
    )
    loaded = loaded_by("import " + ", ".join(names))
    assert not loaded & {"torch", "cv2", "av", "mmpose", "onnxruntime", "openvino", "openpifpaf"}


def test_openpifpaf_is_imported_only_when_it_is_chosen() -> None:
    """AGPL-3.0: nothing loads it on the way to something else."""
    for name, path in modules().items():
        full = list(imports_of(path, when_loaded=True))
        theirs = [one for one in full if one.split(".")[0] == "openpifpaf"]
        assert not theirs, f"{name} imports {theirs} when it is itself imported"
        adapter = re.compile(r"pose_extraction\.networks\.(openpifpaf|composite_fields)")
        ours = [one for one in full if adapter.match(one)]
        assert adapter.match(name) or not ours or under_type_checking(path, ours), f"{name} imports {ours}"


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
    for path in modules().values():
        name = path.relative_to(ROOT).as_posix()
        if name in SAFE_READERS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert not re.fullmatch(r"(pickle|torch|joblib|dill)\.(load|loads|Unpickler)", called), (
                    f"{path}:{node.lineno} calls {called}"
                )
                assert called != "torch.jit.load" or name == RUNS_TORCHSCRIPT, f"{path}:{node.lineno}"
                assert called != "yaml.load" or "Loader=_YamlLoader" in ast.unparse(node), f"{path}:{node.lineno}"
                assert called != "np.load" or "allow_pickle=True" not in ast.unparse(node), f"{path}:{node.lineno}"


def tracked_files() -> list[Path]:
    """Files that are in the repository, or about to be."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True
    )
    if listing.returncode:
        pytest.skip("not a git checkout, so the project's files cannot be distinguished from others")
    paths = (ROOT / name for name in listing.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


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
