"""Request of `skelpipe evaluate --protocol`; loads nothing heavy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import changed
from pipeline.protocols.recipe import parse_protocol
from pose_extraction.errors import UsageError
from recognition.protocols.settings import ProtocolSettings
from recognition.runs import newest_run, saved_file


@dataclass(frozen=True, kw_only=True)
class ProtocolRequest:
    """Encoders to evaluate, the protocol, and the clips.

    Args:
        protocol: Name of the protocol, such as `semi:10%`.
        run: Run directory of `skelpipe pretrain`; None for the newest run.
        fuse: Run directories of further encoders, whose predictions are fused with those of the first.
        data: Skeleton file; None for the one that `run` was trained on.
        split: Test split; None for the one that matches the training split.
        train_split: Split for training classifiers; None for that of `run`, or the only one named like *train.
        pairs: `key=value` settings that override the recipe of each method.
        scratch: Whether encoders start from random weights, as a baseline.
        skip_bad: Whether to skip malformed clips instead of raising an error.
        keypoint_files: Folder with the keypoint files of Kinetics-400; None for that of the run.
        device: Device of the computation.
        precision: auto, fp32 or bf16.
    """

    protocol: str
    run: Path | None = None
    fuse: Sequence[Path] = ()
    data: Path | None = None
    split: str | None = None
    train_split: str | None = None
    pairs: Sequence[str] = ()
    scratch: bool = False
    skip_bad: bool = False
    keypoint_files: Path | None = None
    device: str = "auto"
    precision: str = "auto"


def check_request(request: ProtocolRequest) -> None:
    """Check names, keys and files of a request, before anything that takes seconds to load.

    Args:
        request: The request.

    Raises:
        UsageError: The protocol or a setting is unknown, or there is no such file or run.
        WeightsError: A run does not exist.
    """
    parse_protocol(request.protocol)
    # Only the keys, because the values must fit the recipe of the encoders' method.
    changed({}, request.pairs, {}, ProtocolSettings)
    for run in (request.run if request.run is not None else newest_run(), *request.fuse):
        saved_file(run)
    if request.data is not None and not request.data.is_file():
        raise UsageError(f"{request.data}: file not found; specify a skeleton file with --data")
    if request.keypoint_files is not None and not request.keypoint_files.is_dir():
        raise UsageError(f"--keypoint-files {request.keypoint_files}: folder not found")
