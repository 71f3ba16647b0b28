"""Prints the names of the extras of a wheel: python .ci/extras.py FILE.whl; status 1 if pyproject.toml has others."""

import re
import sys
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path


def main(path: str) -> None:
    """Compare the metadata of the wheel with pyproject.toml, and print the names."""
    with zipfile.ZipFile(path) as wheel:
        (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        extras = HeaderParser().parsestr(wheel.read(metadata).decode()).get_all("Provides-Extra", [])
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # Metadata contains names in their normalised form.
    declared = {re.sub(r"[-_.]+", "-", name).lower() for name in project["optional-dependencies"]}
    if set(extras) != declared:
        sys.exit(f"{path}: has the extras {sorted(extras)}, but pyproject.toml {sorted(declared)}")
    sys.stdout.write(" ".join(extras) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
