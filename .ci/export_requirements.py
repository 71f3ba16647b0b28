"""Writes requirements/*.txt: what each extra needs beyond the package itself, as uv.lock has it.

    python .ci/export_requirements.py

pip cannot leave out the dead and the misfitting among the extras' dependencies, as [tool.uv] in pyproject.toml does.
But it can install a complete list without asking for dependencies, and that list is in the lock file.
"""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("mmlab", "openpifpaf")
HEADER = """\
# Written by .ci/export_requirements.py from uv.lock. README says how to install it, and what must be there before.
"""


def reachable(packages: Mapping[str, Mapping[str, Any]], dependencies: Iterable[Mapping[str, Any]]) -> set[str]:
    """Names of all packages that follow from some, on Linux."""
    found: set[str] = set()
    todo = list(dependencies)
    while todo:
        dependency = todo.pop()
        if dependency["name"] in found or "win32" in dependency.get("marker", ""):
            continue
        found.add(dependency["name"])
        package = packages[dependency["name"]]
        todo += package.get("dependencies", [])
        for extra in dependency.get("extra", []):
            todo += package.get("optional-dependencies", {}).get(extra, [])
    return found


def requirements(extra: str) -> str:
    """The text of requirements/EXTRA.txt."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]
    packages = {package["name"]: package for package in lock["package"]}
    project = packages["skelpipe"]
    names = reachable(packages, project["optional-dependencies"][extra]) - reachable(packages, project["dependencies"])
    lines = [f"--no-binary {name}" for name in settings["no-binary-package"] if name in names]
    for package in lock["package"]:
        if package["name"] in names:
            # A package that the lock has twice has one version for each Python.
            marker = " or ".join(package.get("resolution-markers", []))
            lines.append(f"{package['name']}=={package['version']}" + (f" ; {marker}" if marker else ""))
    return HEADER + "\n".join(lines) + "\n"


if __name__ == "__main__":
    for extra in EXTRAS:
        path = ROOT / "requirements" / f"{extra}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(requirements(extra), encoding="utf-8")
