"""The folder of a data set in shards, and the manifest that says which of its files belong to it.

    vitpose.parquet/
        manifest.json      shards with their digests and counts, class names, further entries of the data set
        labels.parquet     current label, group and splits of each clip
        clips/*.parquet    the shards: one row for each clip
        index/*.parquet    for each shard, its columns without arrays, and where its arrays are
        sources.parquet    files from which clips were merged, so that unchanged ones are not read again

A shard is named after its content and is never changed. A file that the manifest does not name does not count.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pose_extraction.errors import AnnotationError
from pose_extraction.files import atomic_write
from pose_extraction.formats.shards.plain import from_text, to_text

SUFFIX = ".parquet"
MANIFEST, LABELS, SOURCES = "manifest.json", "labels.parquet", "sources.parquet"
CLIPS, INDEX = "clips", "index"
FORMAT, VERSION = "skelpipe shards", 1


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard.

    Args:
        name: File name, in `clips/` and in `index/`.
        clips: Number of clips.
        bytes: Size of the file.
        sha256: Digest of the file.
    """

    name: str
    clips: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Content of a data set in shards.

    Args:
        shards: The shards.
        label_names: Names of the classes, in the order of their numbers.
        empty_splits: Names of splits that contain no clip.
        extra: Further entries of the data set, as in a skeleton file.
    """

    shards: tuple[Shard, ...] = ()
    label_names: tuple[str, ...] = ()
    empty_splits: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def clips(self) -> int:
        """Number of clips in all shards."""
        return sum(shard.clips for shard in self.shards)


def is_shards(path: Path) -> bool:
    """Return whether a path is the folder of a data set in shards."""
    return path.is_dir() and (path.suffix == SUFFIX or (path / MANIFEST).is_file())


def is_data_set(path: Path) -> bool:
    """Return whether a path is a file, which may be a skeleton file, or the folder of a data set in shards."""
    return path.is_file() or is_shards(path)


def changed_at(path: Path) -> int:
    """Return when a skeleton file, or the manifest of a data set in shards, was written, in nanoseconds."""
    manifest = path / MANIFEST
    return (manifest if manifest.is_file() else path).stat().st_mtime_ns


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a data set.

    Raises:
        AnnotationError: It is missing, damaged, or of a newer version.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        if content["version"] > VERSION:
            raise AnnotationError(
                f"{path}: version {content['version']} of the format, but this release reads up to {VERSION}; update "
                "skelpipe"
            )
        shards = tuple(Shard(**shard) for shard in content["shards"])
        _check_names(shards, path)
        names = tuple(content["label_names"]), tuple(content["empty_splits"])
        return Manifest(shards, *names, from_text(content["extra"]))
    except OSError as error:
        raise AnnotationError(
            f"{path}: cannot be read ({error.strerror}), so {folder} is not a data set; create it with `skelpipe merge "
            "--to parquet`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise AnnotationError(
            f"{path}: not a manifest of a data set ({type(error).__name__}: {error}); restore it, or merge the clips "
            "again"
        ) from error


def _check_names(shards: tuple[Shard, ...], path: Path) -> None:
    for shard in shards:
        # Only files of this folder: a name from elsewhere could point anywhere.
        if Path(shard.name).name != shard.name or not shard.name.endswith(SUFFIX):
            raise AnnotationError(f"{path}: {shard.name!r:.80} is not the name of a shard; restore the manifest")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest atomically: with it, the files that it names become the data set."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "clips": manifest.clips,
        "label_names": list(manifest.label_names),
        "empty_splits": list(manifest.empty_splits),
        "extra": to_text(manifest.extra, str(folder)),
        "shards": [asdict(shard) for shard in manifest.shards],
    }
    with atomic_write(folder / MANIFEST) as file:
        file.write((json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
