"""Training and evaluation of recognizers."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pose_extraction.errors import UsageError

if TYPE_CHECKING:
    from pipeline.evaluate.evaluation import Evaluation
    from pose_extraction.engines.engine import Backend, Precision


def train(
    data: str | Path | None = None,
    out: str | Path | None = None,
    *,
    config: str | Path | None = None,
    split: str | None = None,
    init: str | Path | None = None,
    resume: str | Path | None = None,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    settings: Mapping[str, Any] | None = None,
    skip_bad: bool = False,
    progress: bool = True,
) -> Path:
    """Train an action recognizer on a skeleton file, as `skelpipe train` does.

    Args:
        data: Skeleton file; None for the newest file skeletons/*.pkl.
        out: Run directory, which must not contain a run; None for runs/ and the names of the data and the backbone.
        config: Name of a config, such as "maskclr/ntu60_xsub_dstformer", or path of a YAML file; None for "custom",
            which chooses a model and a number of epochs that match the data and the machine.
        split: Training split; None for the only split whose name ends in "train", or all clips.
        init: Run, or weights of MotionBERT, to start from; None for random weights.
        resume: Run directory of an interrupted training to continue, instead of `out`, `config` and `init`.
        device: "auto", "cpu", "cuda:N", or several GPUs, "cuda:0,1", which share each batch.
        precision: Compute precision; weights stay in fp32.
        settings: Values that override those of the config, by name: {"training.phase1_epochs": 30, "batch_size": 16}.
            The section may be omitted if the key is unique.
        skip_bad: Whether to skip malformed clips instead of raising an error.
        progress: Whether to show progress on standard error.

    Returns:
        The run directory.

    Raises:
        UsageError: A setting is unknown or invalid, or the directory already contains a run.
        AnnotationError: The skeleton file is malformed.
        TrainingError: The loss is not finite, or memory ran out.
        TrainingStopped: A signal such as Ctrl-C stopped the training; continue it with `resume`.

    Examples:
        >>> import skelpipe
        >>> small = {"dim": 16, "depth": 1, "heads": 2, "dim_representation": 16, "hidden": 32}
        >>> epochs = {"phase1_epochs": 1, "phase2_epochs": 1, "backbone_lr": 0.003}
        >>> run = skelpipe.train("skeletons/actions.pkl", "runs/new", settings=small | epochs, progress=False)
        >>> (run / "best.safetensors").is_file()
        True
    """
    from pipeline.train.settings import check_files, resumed_train_settings, train_settings

    options = {
        "data.file": _text(data),
        "data.train_split": split,
        "data.skip_bad": skip_bad or None,
        "init": _text(init),
        "training.device": device if device != "auto" else None,
        "training.precision": precision if precision != "auto" else None,
    }
    given = {**(settings or {}), **{name: value for name, value in options.items() if value is not None}}
    words = [str(config)] if config is not None else []
    run = _path(resume)
    if run is None:
        resolved = train_settings(words, {**given, "out": _text(out)})
        check_files(resolved)
    else:
        if out is not None:
            raise UsageError(f"resume {run}: the run keeps its directory; leave out the argument out={str(out)!r}")
        resolved = resumed_train_settings(run, words, given)
    # Loads torch, so only after the checks.
    from recognition.training.run import train as train_recognizer

    return train_recognizer(resolved, resume=run, show=progress)


def evaluate(
    run: str | Path | None = None,
    data: str | Path | None = None,
    split: str | None = None,
    *,
    device: str = "auto",
    backend: "Backend" = "auto",
    precision: "Precision" = "auto",
    batch_size: int | None = None,
    skip_bad: bool = False,
    call: Mapping[str, str] | None = None,
    figures: bool = True,
) -> "Evaluation":
    """Measure the accuracy of a run on a split, as `skelpipe evaluate` does.

    Results and figures are also written to a folder below the run directory. Progress and warnings go to standard
    error.

    Args:
        run: Run directory, or one of its files of weights; None for the newest run in runs/.
        data: Skeleton file; None for the one that the run was trained on.
        split: Name of the split, "all" for every clip; None for the test split that matches the training split.
        device: "auto", "cpu" or "cuda:N".
        backend: "auto", "torch", "openvino" or "onnxruntime"; the library that runs the network.
        precision: Compute precision: "auto", "fp32", "bf16" or "fp16".
        batch_size: Clips per batch; None for 16 on a CPU and 128 on a GPU.
        skip_bad: Whether to skip malformed clips instead of raising an error.
        call: Names of the run's classes by names of the file's classes, for those that differ.
        figures: Whether to draw figures.

    Returns:
        The results: `metrics` with `top1`, `top5` and `mean_class` in [0, 1], `confusion` (K, K) and others; `scores`
        with the probabilities (N, K) of the clips; `folder` with the files.

    Raises:
        UsageError: There is no such run or split, or labels or joints do not fit the run.
        AnnotationError: The skeleton file is malformed.
        WeightsError: The run cannot be read.
        BackendError: The network cannot run with these settings on this machine.

    Examples:
        >>> import skelpipe
        >>> result = skelpipe.evaluate("runs/mine", figures=False)
        >>> result.metrics.clips, result.scores.probabilities.shape
        (12, (12, 3))
    """
    from rich.console import Console

    from pipeline.evaluate.workflow import evaluate as evaluate_run
    from pose_extraction.engines.engine import Engine

    return evaluate_run(
        _path(run),
        _path(data),
        split,
        engine=Engine(device, backend, precision, batch_size),
        skip_bad=skip_bad,
        call=call,
        figures=figures,
        console=Console(stderr=True),
    )


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


def _text(value: str | Path | None) -> str | None:
    return None if value is None else str(value)
