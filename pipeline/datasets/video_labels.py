"""Labels of the videos in files of other programs; one file may hold several videos."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os.path import relpath
from pathlib import Path, PurePosixPath

from pipeline.datasets.row_matching import VideoRows
from pipeline.inputs.label_table import LabelTable, TableRow
from pipeline.inputs.labels import file_key, target_key
from pipeline.inputs.videos import Source
from pose_extraction.errors import AnnotationError


@dataclass(frozen=True, slots=True)
class VideoClip:
    """A clip of a file.

    Args:
        source: The clip. For one of several clips of a file, its path is that of the file followed by its name.
        file: The file.
        video: Path of the video as the file has it; empty if it has none.
    """

    source: Source
    file: Path
    video: str


def with_video_folders(clips: Sequence[VideoClip]) -> list[VideoClip]:
    """Label clips by the folders of the videos that the files name, as in videos/ACTION/clip.mp4.

    Nothing changes if the folders of the files are labels, or if all videos are in one folder.
    """
    folders = [PurePosixPath(clip.video).parent.name or None for clip in clips]
    if any(clip.source.folder_label for clip in clips) or len(set(folders) - {None}) < 2:
        return list(clips)
    return [
        replace(clip, source=replace(clip.source, folder_label=folder))
        for clip, folder in zip(clips, folders, strict=True)
    ]


def rows_of_clips(table: LabelTable, clips: Sequence[VideoClip]) -> LabelTable:
    """Return a table whose rows name clips, from one whose rows name files, or videos as the files name them.

    A row that names a file is for all its clips without a row of their own. Rows that name neither stay as they are.

    Args:
        table: The table.
        clips: All clips of the files.

    Raises:
        AnnotationError: A row matches several videos equally well, or two rows label the same part of a clip.
    """
    folder = table.path.parent
    own = {file_key(clip.source.path): number for number, clip in enumerate(clips)}
    of_file: dict[str, list[int]] = defaultdict(list)
    for number, clip in enumerate(clips):
        for key in {file_key(clip.file), target_key(clip.file)}:
            of_file[key].append(number)
    videos = VideoRows([clip.video for clip in clips], table.path)
    named: dict[int, list[int]] = {}
    for row in table.rows:
        path = folder / row.file
        if file_key(path) in own:
            named[row.line] = [own[file_key(path)]]
        elif not of_file.get(file_key(path)) and not of_file.get(target_key(path)):
            named[row.line] = videos.of_row(row)
    with_rows = {number for numbers in named.values() for number in numbers}
    rows: list[TableRow] = []
    labelled: dict[tuple[object, ...], int] = {}
    for row in table.rows:
        path = folder / row.file
        whole = of_file.get(file_key(path)) or of_file.get(target_key(path), [])
        numbers = named.get(row.line, [number for number in whole if number not in with_rows])
        _refuse_second(row, numbers, clips, labelled, table.path)
        rows += [_row_for(row, clips[number], folder) for number in numbers] or ([] if whole else [row])
    return replace(table, rows=tuple(rows))


def _row_for(row: TableRow, clip: VideoClip, folder: Path) -> TableRow:
    return replace(row, file=PurePosixPath(relpath(clip.source.path.absolute(), folder.absolute())))


def _refuse_second(
    row: TableRow,
    numbers: Iterable[int],
    clips: Sequence[VideoClip],
    labelled: dict[tuple[object, ...], int],
    table: Path,
) -> None:
    for number in numbers:
        line = labelled.setdefault((number, row.segment, row.track, row.anchor), row.line)
        if line != row.line:
            raise AnnotationError(
                f"{table}, line {row.line}: {row.file} is clip {clips[number].source.frame_dir!r}, as on line {line}; "
                "delete one of the lines"
            )
