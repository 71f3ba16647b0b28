"""From what a user types for `--estimator` and `--detector` to networks that are ready to run."""

import hashlib
import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pose_extraction import mmlab, model_zoo, weights
from pose_extraction.backends import (
    Network,
    Normalisation,
    Placement,
    from_torch,
    resolve_placement,
)
from pose_extraction.detection import Detector, DetectorSpec, OneStageDetector, TwoStageDetector
from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.files import sha256_of
from pose_extraction.onnx_models import detector_from_onnx, estimator_from_onnx, onnx_files
from pose_extraction.topdown import TopdownEstimator, TopdownSpec

if TYPE_CHECKING:
    import torch

    from pose_extraction.openpifpaf import OpenPifPafEstimator

SEED_PREFIX = "seed:"
# Measured on two cores: larger batches bring nothing there. Those for a GPU are a guess, far below any GPU's memory.
CPU_POSE_BATCH, CPU_FRAME_BATCH = 8, 2
GPU_POSE_BATCH, GPU_FRAME_BATCH = 64, 16
# R-CNN's second stage depends on what the first one found, which a compiled graph of fixed shape cannot follow.
TORCH_ONLY = frozenset({"faster-rcnn"})


@dataclass(frozen=True)
class Request:
    """What the user asked for; "auto" where the machine decides.

    Args:
        device: "auto", "cpu" or "cuda:N".
        backend: One of `backends.BACKENDS`.
        precision: One of `backends.PRECISIONS`; "auto" leaves detectors at fp32.
        batch_size: Crops at once (top-down) or frames at once (bottom-up); None chooses by device.
        frame_batch: Frames that a detector sees at once; None chooses by device.
        flip_test: See `TopdownEstimator`.
        score_threshold: Boxes of a detector below are not persons; None for the detector's own.
        oblong: Lets a detector of RTMDet's kind run on as much of its square input as a frame needs.
        progress: Called with (bytes so far, length or None) while weights are downloaded.
    """

    device: str = "auto"
    backend: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    frame_batch: int | None = None
    flip_test: bool = False
    score_threshold: float | None = None
    oblong: bool = True
    progress: Callable[[int, int | None], None] | None = None


@dataclass(frozen=True)
class Identity:
    """A network that is known and on this machine, but not yet built.

    Args:
        name: Its name in results: the name that was asked for, or an ONNX file's stem.
        kind: "estimator" or "detector".
        digest: Beginning of the SHA-256 of its weights' file, for ONNX with the notes beside it; "seed:N" for random
            weights.
        placement: Where and how it will run.
        entry: Its row in the table of models; None for an ONNX file.
        file: Its weights, or the ONNX file; None for random weights.
        seed: Of random weights.
    """

    name: str
    kind: str
    digest: str
    placement: Placement
    entry: model_zoo.ModelEntry | None
    file: Path | None
    seed: int

    def facts(self) -> dict[str, str]:
        """What of the network decides its results: weights, precision, and the versions of what builds and runs it."""
        backend = self.placement.backend
        return {
            "name": self.entry.name if self.entry else self.name,
            "weights": self.digest,
            "built_by": _builder(self.entry) if self.entry else "ONNX",
            "backend": f"{backend} {_version(backend)}",
            "device": self.placement.device.partition(":")[0],
            "precision": self.placement.precision,
        }


def _builder(entry: model_zoo.ModelEntry) -> str:
    package = entry.family if entry.package == mmlab.OWN_PACKAGE else entry.package
    return f"{package} {_version(package)}"


def _version(module: str) -> str:
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        # A variant under another name, such as onnxruntime-gpu.
        return str(getattr(importlib.import_module(module), "__version__", "unknown"))


def is_onnx(name: str) -> bool:
    return name.lower().endswith(".onnx")


def display_name(name: str) -> str:
    """The name under which results are filed: an ONNX file's stem, or what was asked for, in lower case."""
    return Path(name).stem if is_onnx(name) else name.lower()


def is_bottom_up(name: str) -> bool:
    """Whether an estimator finds persons by itself, so that no detector is needed."""
    return not is_onnx(name) and model_zoo.lookup(name, "estimator").family == "openpifpaf"


def identify(kind: str, name: str, *, checkpoint: str | None = None, request: Request | None = None) -> Identity:
    """Finds out which network is meant, downloads its weights if need be, and settles where it will run.

    Args:
        kind: "estimator" or "detector".
        name: One that `skelpipe models` lists, or the path of an ONNX file.
        checkpoint: Weights in place of the official ones; "seed:N" for random ones, to try the machinery.
        request: Where and how to run it.

    Raises:
        UsageError: There is no such network.
        WeightsError: Its weights are missing or damaged.
        BackendError: It cannot run here.
    """
    request = request or Request()
    if kind == "detector" and request.precision == "auto":
        # Measured with benchmarks/default_vs_accurate.py: in bf16 YOLOX-nano loses 4 to 9 % of the persons of real
        # clips, whose scores fall below the threshold, while poses keep a mean OKS of 0.975 to 0.98 (0.998 where the
        # network is sure).
        request = replace(request, precision="fp32")
    if is_onnx(name):
        if checkpoint is not None:
            raise UsageError(f"{name} carries its own weights, so --checkpoint {checkpoint} cannot be loaded into it")
        file = Path(name)
        if not file.is_file():
            raise WeightsError(
                f"there is no ONNX file {name}; check the path, or use a name that `skelpipe models` lists"
            )
        placement = resolve_placement(request.device, request.backend, request.precision, onnx=True)
        return Identity(display_name(name), kind, _digest(*onnx_files(file)), placement, None, file, 0)
    entry = model_zoo.lookup(name, kind)
    backend = request.backend
    if entry.name in TORCH_ONLY:
        if backend not in ("auto", "torch"):
            raise UsageError(f"{name} runs on torch only; leave --backend at auto, or choose another detector")
        backend = "torch"
    placement = resolve_placement(request.device, backend, request.precision, onnx=False)
    if checkpoint is not None and checkpoint.startswith(SEED_PREFIX):
        number = checkpoint.removeprefix(SEED_PREFIX)
        if not number.isdecimal():
            raise UsageError(f"{checkpoint!r}: random weights are asked for as seed:N with a whole number N")
        return Identity(display_name(name), kind, checkpoint, placement, entry, None, int(number))
    own = Path(checkpoint) if checkpoint is not None else None
    file = weights.resolve(entry, progress=request.progress, checkpoint=own)
    return Identity(display_name(name), kind, _digest(file), placement, entry, file, 0)


def _digest(*paths: Path) -> str:
    digests = [sha256_of(path) for path in paths]
    return (digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest())[:16]


def load_estimator(identity: Identity, request: Request | None = None) -> "TopdownEstimator | OpenPifPafEstimator":
    """Builds the estimator that `identify` found.

    Raises:
        WeightsError: Its weights are hostile or do not fit.
        BackendError: A package that it needs is not installed.
    """
    request = request or Request()
    placement = identity.placement
    if identity.entry is None:
        assert identity.file is not None
        return estimator_from_onnx(
            identity.file, placement, batch_size=_pose_batch(request, placement), flip_test=request.flip_test
        )
    if identity.entry.family == "openpifpaf":
        return _load_openpifpaf(identity, request)
    network, facts = mmlab.build_topdown(identity.entry.config, package=identity.entry.package, seed=identity.seed)
    _load_weights(network, identity)
    runner = from_torch(
        mmlab.heatmap_function(network),
        Normalisation(facts.mean, facts.std, to_rgb=True),
        placement,
        input_size=facts.input_size,
        batch_size=_pose_batch(request, placement),
    )
    spec = TopdownSpec(facts.input_size, facts.codec, facts.box_scale, facts.shift_flipped, facts.blur_kernel)
    return TopdownEstimator(runner, spec, flip_test=request.flip_test)


def load_detector(identity: Identity, request: Request | None = None) -> Detector:
    """Builds the detector that `identify` found; errors as for `load_estimator`."""
    request = request or Request()
    placement, threshold = identity.placement, request.score_threshold
    if threshold is None:
        threshold = identity.entry.score_threshold if identity.entry else model_zoo.SCORE_THRESHOLD
    batch_size = request.frame_batch or _frame_batch(placement)
    if identity.entry is None:
        assert identity.file is not None
        return detector_from_onnx(identity.file, placement, batch_size=batch_size, score_threshold=threshold)
    network, config = mmlab.build_detector(identity.entry.package, identity.entry.config, seed=identity.seed)
    _load_weights(network, identity)
    if config.two_stage:
        return TwoStageDetector(network, config, placement, score_threshold=threshold, batch_size=batch_size)
    raw = mmlab.raw_detection_function(network)
    normalisation = Normalisation(config.mean, config.std, to_rgb=config.to_rgb)

    def make_network(input_size: tuple[int, int]) -> Network:
        return from_torch(raw, normalisation, placement, input_size=input_size, batch_size=batch_size)

    spec = DetectorSpec(
        input_size=config.input_size,
        decoder="rtmdet",
        pad_value=config.pad_value,
        nms_iou=config.nms_iou,
        person_class=identity.entry.person_class or 0,
        oblong=request.oblong,
    )
    return OneStageDetector(make_network, spec, score_threshold=threshold, batch_size=batch_size)


def _load_weights(network: "torch.nn.Module", identity: Identity) -> None:
    if identity.file is not None:
        # Imported here because it imports torch, which takes seconds and which an ONNX file does not need.
        from pose_extraction.checkpoints import apply_state_dict, load_state_dict

        apply_state_dict(network, load_state_dict(identity.file), source=identity.file)


def _pose_batch(request: Request, placement: Placement) -> int:
    return request.batch_size or (CPU_POSE_BATCH if placement.device == "cpu" else GPU_POSE_BATCH)


def _frame_batch(placement: Placement) -> int:
    return CPU_FRAME_BATCH if placement.device == "cpu" else GPU_FRAME_BATCH


def _load_openpifpaf(identity: Identity, request: Request) -> "OpenPifPafEstimator":
    # AGPL-3.0, so imported only here, when somebody has chosen it.
    from pose_extraction import openpifpaf
    from pose_extraction.checkpoints import load_openpifpaf_state_dict, load_state_dict

    assert identity.entry is not None
    if identity.file is None:
        state_dict = None
    elif identity.entry.shipped is not None:
        state_dict = load_state_dict(identity.file)
    else:
        state_dict = load_openpifpaf_state_dict(identity.file).state_dict
    # Ours sees frames as small as it was trained on; the published ones take any size.
    size = identity.entry.input_size
    batch_size = request.batch_size or _frame_batch(identity.placement)
    return openpifpaf.OpenPifPafEstimator(
        identity.entry.config,
        state_dict=state_dict,
        seed=identity.seed,
        long_edge=max(size) if size is not None else openpifpaf.LONG_EDGE,
        batch_size=batch_size,
        placement=identity.placement,
    )
