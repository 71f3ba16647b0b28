"""What macOS and Windows lack is not needed: the core is imported without it, on Linux."""

import subprocess
import sys
from pathlib import Path

import pytest

from pose_extraction import file_locks, files

ROOT = Path(__file__).resolve().parents[1]
# Imports the modules that are named on the command line in an interpreter without what only POSIX systems have.
PROGRAM = """
import importlib, os, signal, sys

# Loaded before these names go, because the standard library and packages of others choose by the system, not by them.
for name in (
    "asyncio", "multiprocessing.context", "multiprocessing.resource_tracker", "numpy", "platformdirs", "selectors",
    "shutil", "subprocess", "tempfile", "torch", "av", "cv2", "uvicorn", "fastapi",
):
    importlib.import_module(name)

for name in ("fork", "sched_getaffinity", "nice", "getuid", "geteuid", "uname", "killpg", "setsid"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGUSR1", "SIGUSR2", "SIGHUP", "pthread_sigmask"):
    if hasattr(signal, name):
        delattr(signal, name)

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "resource", "pwd", "grp", "termios"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Absent())
for name in sys.argv[1:]:
    importlib.import_module(name)
print("imported")
"""
CORE = (
    "pipeline.cli",
    "pipeline.extract.workflow",
    "pipeline.extract.processes",
    "pipeline.predict.workflow",
    "pipeline.serve.service",
    "pipeline.serve.pool.worker",
    "pipeline.serve.worker.child",
    "pose_extraction.extraction",
    "pose_extraction.networks.download",
    "pose_extraction.networks.estimators",
    "recognition.engine.interruption",
    "recognition.inference.predictor",
)


@pytest.mark.slow
def test_the_core_is_imported_without_posix_modules() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM, *CORE], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "imported\n", result.stderr


def test_files_are_closed_before_they_are_moved_where_open_files_cannot_be(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOVES_OPEN_FILES", False)
    path = tmp_path / "x.json"
    with files.atomic_write(path) as file:
        file.write(b"one")
    assert file.closed and path.read_bytes() == b"one"
    with pytest.raises(KeyError), files.atomic_write(path) as file:
        file.write(b"half")
        raise KeyError
    assert path.read_bytes() == b"one"
    with files.held(path), files.atomic_write(path) as file:
        file.write(b"two")
    with files.held(path):
        pass
    assert path.read_bytes() == b"two" and [one.name for one in tmp_path.iterdir()] == ["x.json"]


def test_locks_with_the_functions_of_windows(tmp_path, monkeypatch):
    """A lock of the same kind made of POSIX locks: one byte far behind the end, held by one open file at a time."""
    holders: list[int] = []

    class Msvcrt:
        LK_NBLCK = 2

        @staticmethod
        def locking(descriptor: int, mode: int, count: int) -> None:
            assert (mode, count) == (2, 1)
            if holders:
                raise OSError("locked")
            holders.append(descriptor)

    monkeypatch.setattr(file_locks, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", Msvcrt)
    with (tmp_path / "lock").open("wb") as first, (tmp_path / "lock").open("wb") as second:
        first.write(b"abc")
        file_locks.lock(first)
        assert first.tell() == 3
        with pytest.raises(BlockingIOError):
            file_locks.lock(second, wait=False)
        holders.clear()
        file_locks.lock(second, wait=False)
    assert (tmp_path / "lock").stat().st_size == 3
