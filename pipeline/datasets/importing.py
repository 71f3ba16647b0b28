"""`skelpipe import`: clips of other programs become one skeleton file."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.datasets.convert import KINDS, convert
from pipeline.datasets.video_labels import VideoClip, rows_of_clips, with_video_folders
from pipeline.inputs.labels import ClipLabel, load_labels
from pipeline.inputs.ntu import applicable_splits, ntu_name
from pipeline.inputs.videos import Source, refuse_equal_ids, with_class_folders
from pipeline.reporting.notes import NoteSummary
from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.exchange.clips import Given, PoseClip
from pose_extraction.exchange.dropping import NO_PERSONS
from pose_extraction.exchange.names import JOINTS, joints_given
from pose_extraction.exchange.person_files import clip_path
from pose_extraction.exchange.programs.openpose import is_frame
from pose_extraction.exchange.skeletons import SOURCE_LAYOUT, annotation_of, dropped_from_file, part_of
from pose_extraction.exchange.table import FORMATS, Format, format_named
from pose_extraction.formats.annotations import data_set
from pose_extraction.formats.persons import set_person_labels
from pose_extraction.formats.storage import write_data_set


@dataclass(frozen=True)
class ImportOptions:
    """Options of an import.

    Args:
        labels: `auto`, `none` or the path of a label table, as for `skelpipe extract`.
        fps: Frames per second of files that do not say it; None for the usual rate.
        size: WIDTHxHEIGHT of the frames; None if the files say it.
        joints: Layout of the joints in the files, or their names; None if the files say it.
        layout: Layout of the skeleton file; None for COCO-17 in 2D.
        skip_bad: Whether to skip malformed files.
        untrimmed: PKU-MMD only, see `convert`.
        keep_incomplete: NTU RGB+D only, see `convert`.
    """

    labels: str = "auto"
    fps: float | None = None
    size: str | None = None
    joints: str | None = None
    layout: str | None = None
    skip_bad: bool = False
    untrimmed: bool = False
    keep_incomplete: bool = False


@dataclass(frozen=True)
class Imported:
    """Result of an import.

    Args:
        path: The skeleton file.
        clips: Number of clips in it.
        labelled: Number of clips with a label.
        left_out: Errors of malformed files that were skipped.
        notes: What was assumed, and other omissions, one sentence for each kind.
        dropped: Number of clips by what the skeleton file does not hold of them; clips that it does not hold at all
            are `clips without persons`.
    """

    path: Path
    clips: int
    labelled: int
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    dropped: dict[str, int] = field(default_factory=dict)


def import_files(name: str, paths: Sequence[Path], out: Path, options: ImportOptions | None = None) -> Imported:
    """Read the clips of other programs and write one skeleton file.

    Args:
        name: Name of the format, or of a data set: "ntu", "pkummd".
        paths: Files, or folders to search for files of the format.
        out: The skeleton file to write; shards if it ends in `.parquet`.
        options: See `ImportOptions`.

    Raises:
        UsageError: The format is unknown, a path does not exist, no file is of the format, or an option is wrong.
        AnnotationError: A file is malformed; nothing is written.
        BackendError: The format needs a package that is not installed.
    """
    options = options or ImportOptions()
    if name in KINDS:
        return _convert(name, paths, out, options)
    if options.untrimmed or options.keep_incomplete:
        raise UsageError("--untrimmed and --keep-incomplete apply to the data sets ntu and pkummd; leave them out")
    source_format = format_named(name, to_write=False, others=KINDS)
    if options.layout is not None and options.layout not in (SOURCE_LAYOUT, *JOINTS):
        raise UsageError(f"--layout {options.layout}: must be one of {', '.join(JOINTS)} and {SOURCE_LAYOUT}")
    given = given_by(options)
    left_out: list[str] = []
    found = [
        (_part_source(source, clip, in_folder=not source_format.suffixes), clip)
        for source in _sources(name, source_format, paths)
        for clip in _read(source_format, source, given, left_out if options.skip_bad else None)
    ]
    if not found:
        raise UsageError(f"no clip could be read; first error: {left_out[0] if left_out else 'no file'}")
    refuse_equal_ids(sources := [source for source, _ in found])
    sources = with_class_folders(sources, {path for path in paths if path.is_dir()})
    clips = with_video_folders([_video_clip(source, clip) for source, (_, clip) in zip(sources, found, strict=True)])
    sources = [clip.source for clip in clips]
    labels = load_labels(options.labels, sources, lambda table: rows_of_clips(table, clips))
    summary = NoteSummary()
    dropped: Counter[str] = Counter()
    annotations: list[dict[str, Any]] = []
    splits: dict[str, list[str]] = {}
    for source, (_, clip) in zip(sources, found, strict=True):
        if not clip.num_persons:
            dropped[NO_PERSONS] += 1
            continue
        for label in labels.clips_of(source):
            annotation = _annotation(name, source, clip, label, options)
            summary.add(label.frame_dir, annotation["problems"])
            dropped.update(dropped_from_file(clip, options.layout))
            annotations.append(annotation)
            for split in label.splits:
                splits.setdefault(split, []).append(label.frame_dir)
    write_data_set(out, data_set(annotations, applicable_splits(splits)))
    labelled = sum(annotation["label_name"] is not None for annotation in annotations)
    notes = (*(f"warning: {line}" for line in labels.warnings), *summary.lines())
    return Imported(out, len(annotations), labelled, tuple(left_out), notes, dict(dropped))


def _convert(name: str, paths: Sequence[Path], out: Path, options: ImportOptions) -> Imported:
    other = (options.fps, options.size, options.joints, options.layout)
    if any(value is not None for value in other) or options.labels != "auto" or len(paths) != 1:
        raise UsageError(
            f"{name}: takes one folder, and its labels, rate and joints are known; leave out --labels, --fps, --size, "
            "--joints and --layout"
        )
    done = convert(
        name,
        paths[0],
        out,
        untrimmed=options.untrimmed,
        keep_incomplete=options.keep_incomplete,
        skip_bad=options.skip_bad,
    )
    return Imported(done.path, done.clips, 0 if options.untrimmed else done.clips, done.left_out, done.notes)


def given_by(options: ImportOptions) -> Given:
    """Parse what the user says about the files.

    Raises:
        UsageError: A value is wrong.
    """
    if options.fps is not None and not 0 < options.fps < float("inf"):
        raise UsageError(f"--fps {options.fps}: must be a number of frames per second above 0, such as --fps 25")
    size = None
    if options.size is not None:
        width, _, height = options.size.lower().partition("x")
        if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
            raise UsageError(f"--size {options.size}: must be WIDTHxHEIGHT in pixels, such as --size 1920x1080")
        size = int(height), int(width)
    return Given(options.fps, size, None if options.joints is None else joints_given(options.joints))


def _sources(name: str, source_format: Format, paths: Sequence[Path]) -> list[Source]:
    """Return the files of a format, each with an id: its path below the given folder, without suffix."""
    sources: dict[Path, Source] = {}
    for root in paths:
        if not root.exists():
            raise UsageError(f"{root}: no such file or folder; check the name")
        for path in _files(name, source_format, root):
            folder = root.parent if path == root else root
            relative = os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
            stem = relative.removesuffix(path.suffix) if source_format.suffixes else relative
            published = ntu_name(path.stem)
            sources.setdefault(path.absolute(), Source(path, stem if published is None else published.text, relative))
    if not sources:
        wanted = ", ".join(f"*{suffix}" for suffix in source_format.suffixes) or "folders of *_keypoints.json files"
        raise UsageError(f"{', '.join(map(str, paths))}: contains no {wanted}; give the files or folders of {name}")
    return list(sources.values())


def _files(name: str, source_format: Format, root: Path) -> Iterator[Path]:
    if not source_format.suffixes:
        folders: list[Path] = []
        for folder, below, names in os.walk(root):
            # Hidden folders are parts of an export that was killed.
            below[:] = [name for name in below if not name.startswith(".")]
            if any(is_frame(Path(name)) for name in names):
                folders.append(Path(folder))
        yield from sorted(folders)
        return
    if root.is_file():
        files = [root]
    else:
        found = (file for suffix in source_format.suffixes for file in root.rglob(f"*{suffix}"))
        files = sorted(file for file in found if file.is_file() and not file.name.startswith("."))
    yield from dict.fromkeys(map(clip_path, files)) if FORMATS[name].one_person else files


def _read(source_format: Format, source: Source, given: Given, bad: list[str] | None) -> Iterator[PoseClip]:
    assert source_format.read is not None
    try:
        yield from source_format.read(source.path, given)
    except AnnotationError as error:
        if bad is None:
            raise AnnotationError(f"{error} (use --skip-bad to skip such files)") from error
        bad.append(str(error))


def _part_source(source: Source, clip: PoseClip, *, in_folder: bool) -> Source:
    """Return the source of one of several clips in a file, or in a folder of frames, which may be that of a class."""
    if not clip.name:
        return source
    part = replace(source, frame_dir=f"{source.frame_dir}/{clip.name}")
    return replace(part, relative=f"{source.relative}/{clip.name}") if in_folder else part


def _video_clip(source: Source, clip: PoseClip) -> VideoClip:
    part = replace(source, path=source.path / clip.name) if clip.name else source
    return VideoClip(part, source.path, clip.video)


def _annotation(name: str, source: Source, clip: PoseClip, label: ClipLabel, options: ImportOptions) -> dict[str, Any]:
    part = clip if label.start is None and label.end is None else part_of(clip, label.start, label.end)
    annotation = annotation_of(
        part,
        frame_dir=label.frame_dir,
        layout=options.layout,
        format_name=name,
        source=source.relative,
        place=str(source.path),
    )
    annotation |= {"label_name": label.label_name, "group": label.group}
    set_person_labels(annotation, label.persons)
    return annotation
