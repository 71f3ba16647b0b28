"""`skelpipe.predict`: options of a Python program into settings, then one call of the workflow."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pipeline.predict.answers import Answer


def predict(
    clips: str | Path | Sequence[str | Path],
    run: str | Path | None = None,
    *,
    estimator: str | Path | None = None,
    detector: str | Path | None = None,
    detection_threshold: float | Literal["auto"] | None = None,
    tiles: Literal["auto", "always", "never"] | None = None,
    per_person: bool | None = None,
    windows: float | None = None,
    threshold: float | Literal["auto"] | None = None,
    overlay: str | Path | None = None,
    explain: bool = False,
    device: str = "auto",
    fps: float | None = None,
    stream: int | None = None,
) -> "Iterator[Answer]":
    """Predict the actions in videos, skeleton files, a camera or a stream, as `skelpipe predict` does.

    The result is an iterator that works while it is read, so errors occur there; `list(skelpipe.predict(...))` collects
    all predictions.

    Args:
        clips: One or several videos, folders, glob patterns or skeleton files; or a camera number such as "0", or the
            address of a stream.
        run: Run directory, or one of its files of weights; None for the newest run in runs/.
        estimator: Pose estimator: a name or an ONNX file; None for the one of the training data.
        detector: Person detector: a name or an ONNX file; None for the one of the training data.
        detection_threshold: Minimum score of a person box, in (0, 1); "auto" for the detector's default; None for the
            one of the training data.
        tiles: "always", "never" or "auto": whether BlazePose searches tiles of the frame for small persons; None as for
            the training data.
        per_person: True for one prediction per tracked person, False for all persons together; None for all together,
            or per person if `windows` is given.
        windows: Length of sliding windows in seconds; equal neighbours are merged. None for one prediction per clip.
        threshold: Minimum probability, in [0, 1], below which the label is "unknown"; "auto" for the run's own
            threshold of the unknown score; None for the same if the run has one.
        overlay: Video to write, with skeletons, ids and actions; a folder for several videos.
        explain: Whether to compute the influence of each joint; figures are written next to the overlay, or to
            predictions/.
        device: Device of all networks: "auto", "cpu" or "cuda:N".
        fps: Frames per second of raw streams and folders of images, above 0; None for that of the stream header, and 30
            for images.
        stream: Number of the video stream of files with several, counted from 0; None for the one marked as default in
            the file.

    Yields:
        Predictions, as soon as each is available: `label`, `probability`, `unknown_score` (larger is less like the
        known actions), `best` (the five most probable actions with their probabilities), `person`, `start` and `end`
        in seconds, and `reason` if there is no prediction.

    Raises:
        UsageError: There is no run or no input, or the options contradict each other or the run.
        SkelpipeError: A run, a network, a skeleton file or a stream cannot be read.

    Examples:
        >>> import skelpipe
        >>> for answer in skelpipe.predict("skeletons/one-clip.pkl", run="runs/mine"):
        ...     print(answer.clip, answer.label)
        clip0 wave
    """
    from rich.console import Console

    from pipeline.predict import workflow
    from pipeline.predict.options import Networks, PredictOptions, scope_of
    from pose_extraction.engines.engine import Engine

    drawn = Path(overlay) if overlay is not None else None
    scope = scope_of(per_person=per_person, windows=windows, overlay=drawn, explain=explain, threshold=threshold)
    yield from workflow.predict(
        [clips] if isinstance(clips, str | Path) else list(clips),
        Path(run) if run is not None else None,
        PredictOptions(scope, windows, drawn, fps=fps, stream=stream),
        networks=Networks(
            None if estimator is None else str(estimator),
            None if detector is None else str(detector),
            detection_threshold=detection_threshold,
            tiles=tiles,
        ),
        engine=Engine(device),
        console=Console(stderr=True),
    )
