"""Opening skeleton files for a run, and the check that the two fit together. Loads no torch."""

import logging
from pathlib import Path

from pose_extraction.errors import UsageError
from recognition.data.clip import ClipFormat
from recognition.data.clip_transforms import layout_of_model
from recognition.data.clips import ClipSet, open_clips
from recognition.inference.trained_network import DescribedRun, estimator_note, is_used_to
from recognition.run_names import shown
from recognition.settings import DataSettings

log = logging.getLogger(__name__)


def clips_for(
    trained: DescribedRun,
    path: Path,
    *,
    skip_bad: bool = False,
    keypoint_files: Path | None = None,
    cut_persons: bool = True,
) -> ClipSet:
    """Open a skeleton file for a recognizer, with a warning if its skeletons come from another estimator.

    Args:
        trained: The recognizer.
        path: A file of `skelpipe extract` or of PYSKL.
        skip_bad: Whether to leave out malformed clips and list them in `left_out`. Clips without persons are always
            left out.
        keypoint_files: Folder of Kinetics-400's keypoint files; None for that of the run.
        cut_persons: Whether each labelled person of a clip becomes a clip.

    Raises:
        AnnotationError: The file is malformed, or, without `skip_bad`, one of its clips is.
        UsageError: Its joints differ from those that the recognizer was trained on.
    """
    folder = str(keypoint_files) if keypoint_files is not None else trained.settings.data.keypoint_files
    changes = {"skip_bad": skip_bad, "group_pattern": None, "keypoint_files": folder}
    settings = trained.settings.data.model_copy(update=changes)
    clips = open_clips(path, settings, leave_out_empty=True, cut_persons=cut_persons)
    check_layout(trained, clips)
    if clips.estimator and not is_used_to(trained, clips.estimator):
        log.warning(
            "%s contains skeletons of %s, but %s; expect lower accuracy", path, clips.estimator, estimator_note(trained)
        )
    return clips


def check_layout(trained: DescribedRun, clips: ClipSet | ClipFormat) -> None:
    """Refuse skeletons whose joints differ from those that a recognizer was trained on.

    Args:
        trained: The recognizer.
        clips: The skeleton file, or the format of clips in memory.

    Raises:
        UsageError: The joints differ and cannot be converted.
    """
    settings: DataSettings = trained.settings.data
    try:
        fits = layout_of_model(clips, settings).name == trained.layout
    except UsageError:
        fits = False
    if fits and trained.dimensions not in (None, clips.dimensions):
        raise UsageError(
            f"{clips.path}: has joints in {clips.dimensions}D, but {shown(trained.path)} was trained on joints in "
            f"{trained.dimensions}D; use matching skeletons, or train a recognizer on skeletons like these"
        )
    if not fits:
        raise UsageError(
            f"{clips.path}: has {clips.layout.name} joints, but {shown(trained.path)} was trained on {trained.layout}; "
            "use skeletons of that layout, or train a recognizer on skeletons like these"
        )
