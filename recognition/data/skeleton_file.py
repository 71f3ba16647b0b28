"""The skeleton file that a run reads: the given one, or the newest."""

from pathlib import Path

from pose_extraction.errors import UsageError
from pose_extraction.formats.shards.manifest import changed_at, is_shards
from recognition.settings import DataSettings

# Default output folder of `skelpipe extract`.
DEFAULT_FOLDER = Path("skeletons")


def skeleton_file_of(settings: DataSettings) -> Path:
    """Return the file that `data.file` names; "auto" is the newest merged file or folder of `skelpipe extract`.

    Raises:
        UsageError: "auto", and there is no such file.
    """
    return newest_skeleton_file() if settings.file == "auto" else Path(settings.file)


def newest_skeleton_file(folder: Path = DEFAULT_FOLDER) -> Path:
    """Return the newest merged skeleton file of `skelpipe extract`.

    Raises:
        UsageError: There is no such file.
    """
    found = [*folder.glob("*.pkl"), *filter(is_shards, folder.glob("*.parquet"))]
    files = sorted(found, key=lambda path: (changed_at(path), path.name))
    if not files:
        raise UsageError(
            f"no skeleton file {folder}/*.pkl or *.parquet: create one with `skelpipe extract VIDEOS`, or specify one "
            "with --data"
        )
    return files[-1]
