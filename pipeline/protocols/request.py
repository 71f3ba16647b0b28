"""Request of `skelpipe evaluate --protocol`; loads nothing heavy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


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
