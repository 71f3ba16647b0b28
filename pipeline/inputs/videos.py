"""Finds the videos that a command was given, and assigns each its id in the data set (`frame_dir`).

The id is the NTU id in the file name, or else the path below the given folder without its suffix. It depends only on
the file and its folder, never on the other files of the run, so that shards and later runs agree.
"""

import glob
import itertools
import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pipeline.inputs.ntu import ntu_name
from pipeline.inputs.remote import folder_of_copies, remote_files, stems_by_folder
from pose_extraction.errors import UsageError
from pose_extraction.remote import RemoteFile, is_url
from pose_extraction.video.image_files import IMAGE_SUFFIXES

logger = logging.getLogger(__name__)

# A place for the number of an image, as in frame%05d.jpg.
_NUMBER = re.compile(r"%\d*d")
# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".amv", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265", ".hevc", ".ivf",
    ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts",
    ".mxf", ".nut", ".ogg", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})
# fmt: on


@dataclass(frozen=True, slots=True)
class Source:
    """One video to extract.

    Args:
        path: Path of the video.
        frame_dir: Id in the data set, and path of its files below the output folder.
        relative: Path below the given folder, with "/" between folders; the file name if a file was given.
        folder_label: Name of the parent folder if folders are classes, else None.
        kind: "images" for a folder of images.
        remote: Where the video is, if it is not on this machine; `path` is then the place of its copy.
    """

    path: Path
    frame_dir: str
    relative: str
    folder_label: str | None = None
    kind: Literal["video", "images"] = "video"
    remote: RemoteFile | None = None

    @property
    def place(self) -> str:
        """URL, or absolute path with unresolved links; distinguishes videos with the same id."""
        return self.remote.url if self.remote is not None else str(_absolute(self.path))

    @property
    def shown(self) -> str:
        """URL or path for messages."""
        return self.remote.url if self.remote is not None else str(self.path)


@dataclass(slots=True)
class Inputs:
    """Result of `survey`.

    Args:
        sources: The videos, in the order of the given paths and sorted within each folder.
        skipped: Number of skipped files, by suffix ("" for none).
        unreadable: Folders that cannot be listed, each with the reason.
    """

    sources: list[Source] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)


def named_source(path: Path, name: str) -> Source:
    """Returns a video or folder of images that is stored under another name than its own.

    Args:
        path: Place of the video.
        name: Its own name, from which its id is derived as if it were the only video in its folder.
    """
    kind: Literal["video", "images"] = "images" if path.is_dir() else "video"
    published = ntu_name(name)
    frame_dir = published.text if published is not None else name if kind == "images" else Path(name).stem
    return Source(path, frame_dir, name, kind=kind)


def survey(paths: Sequence[str | Path], *, urls: bool = False) -> Inputs:
    """Finds the videos in files, folders and glob patterns.

    A file given by name is accepted with any suffix. Folders are searched recursively for files with the suffix of a
    video; a folder with images and without videos is one video. Hidden files are skipped, and so are overlays: videos
    next to a skeleton file of the same name.

    Args:
        paths: Files, folders and glob patterns.
        urls: Whether they may be URLs. Their videos have to be copied to their `path` before they are read.

    Raises:
        SkelpipeError: A storage at a URL cannot be read.
        UsageError: A path does not exist, there is no video, or two videos would have the same id.
    """
    inputs = Inputs()
    roots = []
    remote = [given for given in paths if urls and isinstance(given, str) and is_url(given)]
    for given in paths:
        if given not in remote:
            roots.extend(_roots(given))
    namer = _Namer()
    for root, path in roots:
        if root is not None and path.is_dir():
            inputs.sources.extend(_in_folder(path, root, namer, inputs))
        else:
            inputs.sources.append(namer.source(path, root, "video"))
    for url in remote:
        inputs.sources.extend(_at_url(url, namer, inputs))
    inputs.sources = _without_repeats(inputs.sources)
    if not inputs.sources and not inputs.unreadable:
        suffixes = ", ".join(sorted(suffix for suffix in inputs.skipped if suffix)) or "nothing"
        remedy = "to use a file with another suffix, give its name"
        if ".pkl" in inputs.skipped:
            remedy = "skeleton files are not videos; give each of them by name where a command accepts them"
        raise UsageError(
            f"no video in {', '.join(map(str, paths)) or 'an empty list of paths'} (found {suffixes}); {remedy}"
        )
    refuse_equal_ids(inputs.sources)
    inputs.sources = with_class_folders(
        inputs.sources, {*(root for root, _ in roots if root is not None), *map(folder_of_copies, remote)}
    )
    return inputs


def _roots(given: str | Path) -> list[tuple[Path | None, Path]]:
    """(folder that ids are relative to, path) for everything that an argument matches; None for a single file."""
    path = Path(given)
    try:
        if path.is_dir():
            return [(path, path)]
        if path.exists():
            return [(None, path)]
    except OSError as error:
        raise UsageError(
            f"{given}: cannot be accessed ({error.strerror}); check the permissions of its folder"
        ) from error
    fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    if len(fixed) == len(path.parts) and _NUMBER.search(path.name):
        raise UsageError(
            f"{given}: is a pattern of image names, which is not supported; give the folder {path.parent} instead: its "
            "images are read in the order of their numbers"
        )
    if len(fixed) == len(path.parts):
        raise UsageError(f"{given}: no such file or folder; check the name, or quote a pattern such as 'videos/*.mp4'")
    root = Path(*fixed)
    found = sorted(root.glob(str(Path(*path.parts[len(fixed) :]))))
    wanted = [match for match in found if match.name[0] != "." and (_is_video_name(match.name) or match.is_dir())]
    if not wanted:
        raise UsageError(f"{given}: no video matches this pattern; check it, or give the folder")
    return [(root, match) for match in wanted]


def _in_folder(folder: Path, root: Path, namer: "_Namer", inputs: Inputs) -> list[Source]:
    """All videos in a folder and its subfolders, in a stable order."""

    def unreadable(error: OSError) -> None:
        inputs.unreadable.append((Path(error.filename), error.strerror or str(error)))

    videos: list[Source] = []
    image_folders: list[Path] = []
    for name, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        here = Path(name)
        if _leads_back(here):
            folders.clear()
            continue
        folders[:] = sorted(entry for entry in folders if not entry.startswith("."))
        images = 0
        for entry in sorted(files):
            suffix = Path(entry).suffix.lower()
            if entry.startswith("."):
                continue
            if _is_video_name(entry) and not _is_overlay(entry, files):
                videos.append(namer.source(here / entry, root, "video"))
            elif suffix in IMAGE_SUFFIXES:
                images += 1
            else:
                inputs.skipped[suffix] += 1
        if images:
            image_folders.append(here)
    # Images in a folder with videos, or above it, are covers and thumbnails, not a video.
    holding_videos = {parent for video in videos for parent in video.path.parents}
    sequences = [namer.source(path, root, "images") for path in image_folders if path not in holding_videos]
    return sorted(videos + sequences, key=lambda source: source.relative)


def _at_url(url: str, namer: "_Namer", inputs: Inputs) -> list[Source]:
    """All videos at a URL, in a stable order. Folders of images are not supported there."""
    folder = folder_of_copies(url)
    files, bad = remote_files(url)
    inputs.unreadable += [(Path(file.url), "its name is not that of a file") for file in bad]
    by_folder: dict[str, list[RemoteFile]] = {}
    for file in files:
        by_folder.setdefault(file.relative.rpartition("/")[0], []).append(file)
    namer.expect(folder, [file for file in files if _is_video_name(file.relative)])
    videos: list[Source] = []
    for own in by_folder.values():
        names = [file.relative.rpartition("/")[2] for file in own]
        for file, name in zip(own, names, strict=True):
            # A single file is accepted with any suffix.
            chosen = _is_video_name(name) or len(files) == 1
            if any(part.startswith(".") for part in file.relative.split("/")):
                continue
            if not chosen or _is_overlay(name, names):
                inputs.skipped[Path(name).suffix.lower()] += 1
                continue
            videos.append(replace(namer.source(folder / file.relative, folder, "video"), remote=file))
    return sorted(videos, key=lambda source: source.relative)


def _is_video_name(name: str) -> bool:
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def _leads_back(folder: Path) -> bool:
    """Whether a linked folder is one of its own parents; such links are not followed."""
    return folder.is_symlink() and os.path.realpath(folder) in map(os.path.realpath, folder.parents)


def _is_overlay(name: str, neighbours: Sequence[str]) -> bool:
    stem = Path(name).stem
    return stem.endswith(".overlay") or f"{stem}.pkl" in neighbours


class _Namer:
    """Assigns ids to videos; caches the names in each folder, which may contain tens of thousands of videos."""

    def __init__(self) -> None:
        self._stems: dict[Path, Counter[str]] = {}

    def expect(self, folder: Path, files: list[RemoteFile]) -> None:
        """Takes the videos at a URL, whose copies will be in a folder."""
        for name, stems in stems_by_folder(files).items():
            self._stems[folder / name] = stems

    def source(self, path: Path, root: Path | None, kind: Literal["video", "images"]) -> Source:
        """The video at `path`, with an id relative to `root` (None for a single file)."""
        named_itself = root is None or root == path
        relative = _absolute(path).name if named_itself else path.relative_to(root or path).as_posix()
        # Names that are not UTF-8 cannot be printed or stored as text; escape their invalid bytes.
        relative = os.fsencode(relative).decode("utf-8", "backslashreplace")
        published = ntu_name(relative.rsplit("/", 1)[-1])
        if published is not None:
            return Source(path, published.text, relative, kind=kind)
        keeps_suffix = kind == "images" or self._stems_in_folder_of(path)[path.stem] > 1
        frame_dir = relative if keeps_suffix else relative.removesuffix(path.suffix)
        return Source(path, frame_dir, relative, kind=kind)

    def _stems_in_folder_of(self, path: Path) -> Counter[str]:
        """Number of videos with each name, without suffixes, in the folder of `path`, including folders of images."""
        folder = path.parent
        if folder not in self._stems:
            self._stems[folder] = Counter()
            try:
                for entry in os.scandir(folder):
                    if not entry.is_dir() and _is_video_name(entry.name):
                        self._stems[folder][Path(entry.name).stem] += 1
                    elif entry.is_dir() and _holds_images(Path(entry.path)):
                        self._stems[folder][entry.name] += 1
            except OSError as error:
                logger.debug("%s: cannot be listed (%s); ids in it have no suffixes", folder, error.strerror)
        return self._stems[folder]


def _holds_images(folder: Path) -> bool:
    try:
        return any(Path(entry.name).suffix.lower() in IMAGE_SUFFIXES for entry in os.scandir(folder))
    except OSError:
        # The walk reports a folder that cannot be listed.
        return False


def _absolute(path: Path) -> Path:
    # Not `resolve`: a link has its own name and folder.
    return Path(os.path.normpath(path.absolute()))


def _without_repeats(sources: Sequence[Source]) -> list[Source]:
    """Removes repeated videos, as in `videos videos/a.mp4`."""
    return list({_absolute(source.path): source for source in reversed(sources)}.values())[::-1]


def refuse_equal_ids(sources: Sequence[Source]) -> None:
    first: dict[str, Source] = {}
    for source in sources:
        other = first.setdefault(source.frame_dir, source)
        if other is not source:
            raise UsageError(
                f"{other.shown} and {source.shown} would both have the id {source.frame_dir!r}; give a common parent "
                "folder (ids are then paths relative to it), or rename one"
            )


def with_class_folders(sources: Sequence[Source], folders: Collection[Path]) -> list[Source]:
    """Sets `folder_label` if the videos are in two or more folders, which can then be classes.

    Single files outside the given folders have no class.
    """
    labels = [_folder_above(source, folders) for source in sources]
    if len(set(labels) - {None}) < 2:
        return list(sources)
    return [replace(source, folder_label=label) for source, label in zip(sources, labels, strict=True)]


def _folder_above(source: Source, folders: Collection[Path]) -> str | None:
    below = source.relative.split("/")[:-1]
    if below:
        return below[-1]
    if len(folders) > 1 and source.path.parent in folders:
        return _absolute(source.path.parent).name
    return None
