"""An interpreter in which the packages of the extra `torch` cannot be imported."""

from pathlib import Path

from pose_extraction.engines.torch_extra import PACKAGES

# Code that makes the packages absent.
ABSENT = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {PACKAGES!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def write_start(folder: Path) -> Path:
    """Write a module that Python runs when it starts, if the folder is on PYTHONPATH; return the folder.

    Child processes run it, too.
    """
    (folder / "sitecustomize.py").write_text(ABSENT, encoding="utf-8")
    return folder
