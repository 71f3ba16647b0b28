"""Writes requirements/*.txt: what each group of networks needs beyond skelpipe[torch], as in uv.lock.

    python .ci/export_requirements.py

pip cannot exclude single dependencies of a package, as [tool.uv] in pyproject.toml does. But it can install a complete
list with --no-deps, and that list is in the lock file.
"""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GROUPS = ("mmlab", "openpifpaf")
HEADER = """\
# Written by .ci/export_requirements.py from uv.lock. docs/installation.md describes its use.
"""


def reachable(packages: Mapping[str, Mapping[str, Any]], dependencies: Iterable[Mapping[str, Any]]) -> set[str]:
    """Names of all packages that some packages require, directly or not, on Linux."""
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


def requirements(group: str) -> str:
    """The text of requirements/GROUP.txt."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    packages = {package["name"]: package for package in lock["package"]}
    project = packages["skelpipe"]
    installed = [*project["dependencies"], *project["optional-dependencies"]["torch"]]
    names = reachable(packages, project["dev-dependencies"][group]) - reachable(packages, installed)
    lines = []
    for package in lock["package"]:
        if package["name"] in names:
            # A package that the lock has twice has one version for each Python.
            marker = " or ".join(package.get("resolution-markers", []))
            lines.append(f"{package['name']}=={package['version']}" + (f" ; {marker}" if marker else ""))
    return HEADER + "\n".join(lines) + "\n"


if __name__ == "__main__":
    for group in GROUPS:
        path = ROOT / "requirements" / f"{group}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(requirements(group), encoding="utf-8")
