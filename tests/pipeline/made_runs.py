"""What the tests of whole runs share: the size of the made clips, a run's outcome, and the files that it left."""

from pathlib import Path

from pipeline.extract import Report

SIZE = (96, 128)


class Run:
    """What `run` gives back: the report, and what was said."""

    def __init__(self, report: Report, said: str) -> None:
        self.report = report
        self.said = said


def all_files(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, by its path there."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every skeleton file below a folder: they change when it is written anew."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.glob("*/**/*.pkl")
    }
