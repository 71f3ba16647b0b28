"""`skelpipe predict`: what a recognizer takes each clip for."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.evaluate import Engine, progress_bar, told_of_nameless
from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write
from recognition.clips import split_indices
from recognition.prediction import Prediction, clips_for, predict_clips
from recognition.runs import load_run, newest_run

BEST = 5
SKELETONS = ".pkl"


def predict(
    given: Path,
    run: Path | None,
    split: str | None,
    *,
    engine: Engine,
    keypoint_files: Path | None = None,
    console: Console,
) -> list[Prediction]:
    """The five likeliest classes of each clip of what is given.

    Args:
        given: A skeleton file.
        run: Run directory, or one of its .pt files; None for the newest run.
        split: Only the clips of this split; None for all.
        engine: How the network is run.
        keypoint_files: Folder of Kinetics-400's keypoint files; None for that of the run.
        console: Where progress and warnings are told.

    Returns:
        One for each clip: those that can be used in the file's order, then those that cannot, with the reason.

    Raises:
        UsageError: There is no run, no such split, the joints do not fit the run, or no skeletons were given.
        AnnotationError: The skeleton file is malformed.
        WeightsError: The run cannot be read.
        BackendError: It cannot run as asked on this machine.
    """
    path = skeletons_of(given)
    trained = load_run(run if run is not None else newest_run())
    clips = clips_for(trained, path, skip_bad=True, keypoint_files=keypoint_files)
    if clips.nameless():
        console.print(Text(f"warning: {told_of_nameless(clips)}"))
    indices = np.arange(len(clips)) if split is None else split_indices(clips, split)
    with progress_bar(console, len(indices)) as advance:
        result = predict_clips(trained, clips, indices, count=BEST, **vars(engine), progress=advance)
    left_out = [clip for clip in clips.left_out if split is None or split in clip.splits]
    return result + [Prediction(clip.name, (), clip.reason) for clip in left_out]


def skeletons_of(given: Path) -> Path:
    """The skeleton file of what was given.

    Raises:
        UsageError: It is not there, or is no skeleton file.
    """
    if not given.exists():
        raise UsageError(f"{given}: there is no such file; make one with `skelpipe extract VIDEOS`")
    if given.is_dir() or given.suffix != SKELETONS:
        raise UsageError(
            f"{given}: predict takes skeleton files (*{SKELETONS}); run `skelpipe extract {given}` first, and give it "
            "the file that this makes"
        )
    return given


def as_json_lines(predictions: Sequence[Prediction]) -> str:
    """A JSON object a line, with a line break at the end of each."""
    return "".join(
        json.dumps(
            {
                "clip": prediction.name,
                "predictions": [{"label": name, "probability": share} for name, share in prediction.best] or None,
                "reason": prediction.reason,
            },
            ensure_ascii=False,
        )
        + "\n"
        for prediction in predictions
    )


def write_json_lines(predictions: Sequence[Prediction], path: Path) -> None:
    with atomic_write(path) as file:
        file.write(as_json_lines(predictions).encode())


def print_table(predictions: Sequence[Prediction], console: Console) -> None:
    """A row a clip: its likeliest class first, or why nothing can be said of it."""
    longest = max((len(prediction.best) for prediction in predictions), default=0)
    # Names are other people's text: not to be read as markup.
    table = Table("clip")
    for place in range(max(longest, 1)):
        table.add_column(str(place + 1))
    for prediction in predictions:
        cells = [Text(f"{name} {share:.1%}") for name, share in prediction.best]
        if prediction.reason is not None:
            cells = [Text(f"none: {prediction.reason}", style="italic")]
        table.add_row(Text(prediction.name), *cells)
    console.print(table)
