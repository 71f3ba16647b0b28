"""An output folder at a URL: results are made in a local copy of it, and each finished file is stored as a whole."""

import json
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pose_extraction.cache import default_cache_dir
from pose_extraction.errors import SkelpipeError
from pose_extraction.file_locks import lock
from pose_extraction.files import atomic_write
from pose_extraction.queues import map_ahead
from pose_extraction.remote import RemoteFile, below, exists, fetch, list_folder, remove, store

# File in the local copy with what is known to be the same at the URL.
_KNOWN = ".known.json"
# The same for what was stored since: a line for each file, which each process of this machine adds.
_PUSHED = ".pushed.jsonl"
# Number of files that are fetched at once: most are small, and the answer of the storage takes longer than the file.
FETCHES_AT_ONCE = 8
# Overlays are large, and nothing reads them again.
_NOT_FETCHED = (".mp4",)


@dataclass(frozen=True)
class Mirror:
    """The output folder and its local copy; can be pickled.

    Args:
        url: URL of the output folder.
        folder: Local copy, which belongs to one run at a time.
        keeps: Whether results stay in the local copy, so that it is worth remembering what was stored.
    """

    url: str
    folder: Path
    keeps: bool = True

    def url_of(self, path: Path) -> str:
        """Returns the URL of a file in the local copy."""
        return below(self.url, path.relative_to(self.folder).as_posix())

    def here(self) -> "Mirror":
        """Returns the mirror of the same URL in the cache folder of this machine, in which no results stay.

        Raises:
            SkelpipeError: The folder cannot be created.
        """
        return Mirror(self.url, _local_copy(self.folder.name, self.url), keeps=False)

    def push(self, path: Path, on_chunk: Callable[[], None] = lambda: None) -> None:
        """Stores a file at the URL, and remembers it, so that `pull` need not fetch it again; see `store`.

        Raises:
            SkelpipeError: It cannot be written.
        """
        url = self.url_of(path)
        store(path, url, on_chunk)
        if not self.keeps or path.suffix in _NOT_FETCHED:
            return
        # Without the note, the file is fetched again.
        with suppress(SkelpipeError, OSError):
            for one in list_folder(url):
                if one.relative == path.name:
                    self._remember(path, one)

    def _remember(self, path: Path, stored: RemoteFile) -> None:
        """Notes that a file is the same at the URL. Another size means that another machine has replaced it since."""
        state = _state(stored, path)
        if stored.size and state[1:2] != [stored.size]:
            return
        line = json.dumps({"file": path.relative_to(self.folder).as_posix(), "state": state})
        with (self.folder / _PUSHED).open("a", encoding="utf-8") as lines:
            lock(lines)
            lines.write(f"{line}\n")

    def remove(self, path: Path) -> None:
        """Removes a file at the URL, if there is one.

        Raises:
            SkelpipeError: It cannot be removed.
        """
        remove(self.url_of(path))

    def exists(self, path: Path) -> bool:
        """Returns whether a file is at the URL."""
        return exists(self.url_of(path))

    def fetch(self, path: Path) -> None:
        """Copies a file from the URL, if there is one; removes the local copy if there is none."""
        if self.exists(path):
            fetch(self.url_of(path), path)
        else:
            path.unlink(missing_ok=True)

    def refuse_unwritable(self) -> None:
        """Fails before the work starts if nothing can be stored at the URL.

        Raises:
            SkelpipeError: It cannot be written to.
        """
        probe = self.folder / ".writable"
        probe.touch()
        store(probe, self.url_of(probe))
        self.remove(probe)

    def pull(self, name: str) -> None:
        """Makes the local copy equal to the URL: results that other machines have stored, and none that are lost.

        Args:
            name: Name of the estimator, whose folder and data sets are compared.

        Raises:
            SkelpipeError: The storage cannot be read.
        """
        known = self._known() | self._pushed()
        files = self._stored(name)

        def copied(relative: str) -> list[str | int]:
            path = self.folder / relative
            if known.get(relative) != _state(files[relative], path):
                fetch(files[relative].url, path)
            return _state(files[relative], path)

        wanted = [relative for relative in files if not relative.endswith(_NOT_FETCHED)]
        with closing(map_ahead(copied, wanted, workers=FETCHES_AT_ONCE, name="fetching")) as found:
            known |= dict(zip(wanted, found, strict=True))
        for path in list(self.folder.rglob("*")):
            relative = path.relative_to(self.folder).as_posix()
            if path.is_file() and relative not in files and _belongs(relative, name):
                path.unlink()
        with atomic_write(self.folder / _KNOWN) as file:
            file.write(json.dumps({key: value for key, value in known.items() if key in files}).encode())
        (self.folder / _PUSHED).unlink(missing_ok=True)

    def push_changed(self, paths: list[Path], since: dict[Path, tuple[int, int]]) -> None:
        """Stores those of some files that have changed, and removes those that are gone.

        Args:
            paths: Files, and folders with all their files.
            since: What `states` returned before.

        Raises:
            SkelpipeError: The storage cannot be written.
        """
        now = states(paths)
        for path, state in now.items():
            if since.get(path) != state:
                self.push(path)
        for path in since.keys() - now.keys():
            self.remove(path)

    def _stored(self, name: str) -> dict[str, RemoteFile]:
        """Files at the URL that are results of an estimator, by path below the output folder."""
        found = {f"{name}.pkl": one for one in list_folder(below(self.url, f"{name}.pkl"))}
        for part in (name, f"{name}.parquet"):
            found |= {f"{part}/{one.relative}": one for one in list_folder(below(self.url, part))}
        return {relative: one for relative, one in found.items() if _belongs(relative, name)}

    def _known(self) -> dict[str, list[str | int]]:
        try:
            content = json.loads((self.folder / _KNOWN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _pushed(self) -> dict[str, list[str | int]]:
        """What this machine has stored since the last `pull`. A kill can leave an incomplete line, which is skipped."""
        try:
            lines = (self.folder / _PUSHED).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return {}
        found: dict[str, list[str | int]] = {}
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                found[entry["file"]] = entry["state"]
        return found


def mirror_of(url: str, shard: tuple[int, int] | None) -> Mirror:
    """Returns the mirror of an output folder.

    Args:
        url: URL of the folder.
        shard: (I, N) if several runs share the folder; each has its own local copy.
    """
    text = url.rstrip("/") if shard is None else f"{url.rstrip('/')} {shard[0]}/{shard[1]}"
    return Mirror(url.rstrip("/"), _local_copy(sha256(text.encode()).hexdigest()[:16], url))


def _local_copy(name: str, url: str) -> Path:
    """Creates the folder for the local copy of a URL."""
    folder = default_cache_dir() / "results" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SkelpipeError(
            f"{folder}: cannot create the folder for copies of {url} ({error.strerror}); set SKELPIPE_CACHE"
        ) from error
    return folder.absolute()


def states(paths: list[Path]) -> dict[Path, tuple[int, int]]:
    """Returns size and time of files, and of all files in folders; hidden ones do not count."""
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    visible = [file for file in files if file.is_file() and not file.name.startswith(".")]
    return {file: (status.st_size, status.st_mtime_ns) for file in visible for status in [file.stat()]}


def _belongs(relative: str, name: str) -> bool:
    """Whether a file is part of the results of an estimator, and has a name that a file can have."""
    first, *others = relative.split("/")
    if any(part in ("", ".", "..") for part in others) or relative.rpartition("/")[2].startswith("."):
        return False
    return first in (name, f"{name}.parquet") if others else first == f"{name}.pkl"


def _state(one: RemoteFile, path: Path) -> list[str | int]:
    """What is stored for a file that is the same at both places."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [one.key, status.st_size, status.st_mtime_ns]
