"""Shared by tests of complete runs: size of the synthetic clips, outcome of a run, and its files."""

from pathlib import Path

from pipeline.extract.workflow import Report

SIZE = (96, 128)


class Run:
    """Result of `run`: the report and the console output."""

    def __init__(self, report: Report, output: str) -> None:
        self.report = report
        self.output = output


def all_files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, by relative path, without what depends on times."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".finished"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    """Return inode and time of every skeleton file below a folder; they change when a file is rewritten."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.glob("*/**/*.pkl")
    }
