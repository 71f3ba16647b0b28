"""Resolve the values of `--estimator` and `--detector`, and build the networks."""

import hashlib
import importlib
import importlib.metadata
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pose_extraction.engines.engine import Engine, has_module, resolve_engine
from pose_extraction.engines.image_networks import ImageNetwork, Normalisation, from_tflite, from_torch
from pose_extraction.errors import BackendError, UsageError, WeightsError
from pose_extraction.files import sha256_of
from pose_extraction.networks import mmlab, model_zoo, weights
from pose_extraction.networks.blazepose import wheel_files
from pose_extraction.networks.blazepose.estimator import BlazePoseDetector, BlazePoseEstimator
from pose_extraction.networks.detection import PersonDetector
from pose_extraction.networks.names import check_exists, display_name, is_blazepose, is_onnx, is_published_onnx
from pose_extraction.networks.one_stage import DetectorSpec, OneStageDetector
from pose_extraction.networks.onnx_models import detector_from_onnx, estimator_from_onnx, onnx_files
from pose_extraction.networks.topdown import TopdownEstimator, TopdownSpec
from pose_extraction.networks.two_stage import TwoStageDetector
from pose_extraction.networks.vitpose.estimator import load_vitpose

if TYPE_CHECKING:
    import torch

    from pose_extraction.networks.openpifpaf import OpenPifPafEstimator

log = logging.getLogger(__name__)

SEED_PREFIX = "seed:"
# What builds the networks of this project in plain torch, in the facts of a result.
OWN = "skelpipe"
# Measured on two cores, where larger batches are not faster. The GPU values are guesses, far below the memory limit.
CPU_POSE_BATCH, CPU_FRAME_BATCH = 8, 2
GPU_POSE_BATCH, GPU_FRAME_BATCH = 64, 16
# Most videos show one person, and a batch that is not full takes as long as a full one.
BLAZEPOSE_BATCH = 1
# The second stage of R-CNN depends on the output of the first, which a compiled graph of fixed shape cannot express.
TORCH_ONLY = frozenset({"faster-rcnn"})


@dataclass(frozen=True)
class NetworkOptions:
    """Options for building a network.

    Args:
        engine: Where and how it runs; the automatic precision of detectors is fp32. Its batch size is that of the
            estimator: crops (top-down) or frames (bottom-up).
        frame_batch: Frames per batch of a detector; None selects by device.
        flip_test: See `TopdownEstimator`.
        score_threshold: Minimum score of a person for a detector, in [0, 1]; None uses the detector's default.
        oblong: Whether RTMDet may run on the part of its square input that the frame needs.
        tiles: See `BlazePoseEstimator`.
        builder: "auto" builds ViTPose by itself; "mmpose" uses mmpose's implementation.
        progress: Called with (bytes on disk, total length or None) while weights are downloaded.
    """

    engine: Engine = field(default_factory=Engine)
    frame_batch: int | None = None
    flip_test: bool = False
    score_threshold: float | None = None
    oblong: bool = True
    tiles: str = "auto"
    builder: str = "auto"
    progress: Callable[[int, int | None], None] | None = None


@dataclass(frozen=True)
class NetworkIdentity:
    """A network whose weights are on this machine, but which is not built yet.

    Args:
        name: Name in results: the requested name, or the stem of an ONNX file.
        kind: "estimator" or "detector".
        digest: First digits of the SHA-256 of the weights, for ONNX including its YAML file; "seed:N" for random
            weights.
        engine: Where and how it will run; resolved.
        entry: Its row in the model table; None for an ONNX file.
        file: Its weights, the folder of several files, or the ONNX file; None for random weights.
        seed: Seed of random weights.
        built_by: What builds it: `OWN`, or a package with its version.
    """

    name: str
    kind: str
    digest: str
    engine: Engine
    entry: model_zoo.ModelEntry | None
    file: Path | None
    seed: int
    built_by: str = "ONNX"

    def facts(self) -> dict[str, str]:
        """Return everything that determines the results: weights, precision, and the versions of the libraries."""
        backend = self.engine.backend
        return {
            "name": self.entry.name if self.entry else self.name,
            "weights": self.digest,
            "built_by": self.built_by,
            "backend": f"{backend} {_version(backend)}",
            "device": self.engine.device.partition(":")[0],
            "precision": self.engine.precision,
        }


def _builder(entry: model_zoo.ModelEntry, options: NetworkOptions) -> str:
    if options.builder == "mmpose" and entry.kind == "estimator" and entry.family != "mmpose":
        raise UsageError(f"--builder mmpose: mmpose has no {entry.name}; use --builder auto")
    if entry.vitpose is not None and options.builder != "mmpose":
        return OWN
    if entry.wheel is not None:
        return f"{entry.wheel.project} {entry.wheel.version}"
    package = entry.family if entry.package == mmlab.OWN_PACKAGE else entry.package
    return f"{package} {_version(package)}"


def _version(module: str) -> str:
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        # A variant with another distribution name, such as onnxruntime-gpu.
        return str(getattr(importlib.import_module(module), "__version__", "unknown"))


def with_supported_backend(options: NetworkOptions, name: str) -> NetworkOptions:
    """Return the options with the backend "auto" if the requested one cannot run a network of this kind.

    An estimator and its detector share their options, but torch runs no ONNX files and ONNX Runtime nothing else, and
    only OpenVINO runs BlazePose.

    Args:
        options: Options of both networks.
        name: Name listed by `skelpipe models`, or path of an ONNX file.
    """
    unsupported: tuple[str, ...] = ("torch",) if is_onnx(name) or is_published_onnx(name) else ("onnxruntime",)
    if is_blazepose(name):
        unsupported = ("torch", "onnxruntime")
    if options.engine.backend not in unsupported:
        return options
    return replace(options, engine=replace(options.engine, backend="auto"))


def identify(
    kind: str, name: str, *, checkpoint: str | None = None, options: NetworkOptions | None = None
) -> NetworkIdentity:
    """Find a network, download its weights if necessary, and decide where it will run.

    Args:
        kind: "estimator" or "detector".
        name: Name listed by `skelpipe models`, or path of an ONNX file.
        checkpoint: Weights to use instead of the official ones; "seed:N" for random weights, to test the pipeline.
        options: Where and how to run it.

    Returns:
        The network, ready for `load_estimator` or `load_detector`.

    Raises:
        UsageError: The network does not exist, or the options contradict each other.
        WeightsError: The weights are missing or damaged.
        BackendError: It cannot run on this machine.
    """
    options = options or NetworkOptions()
    engine = options.engine
    if kind == "detector" and engine.precision == "auto":
        # Measured with benchmarks/default_vs_accurate.py: in bf16, YOLOX-nano loses 4 to 9 % of the persons in real
        # clips, because their scores fall below the threshold. Poses keep a mean OKS of 0.975 to 0.98 (0.998 where
        # the network is confident).
        engine = replace(engine, precision="fp32")
    if is_onnx(name):
        if checkpoint is not None:
            raise UsageError(f"{name} contains its own weights, so --checkpoint {checkpoint} cannot be used with it")
        check_exists(name, kind)
        file = Path(name)
        engine = resolve_engine(engine, onnx=True)
        return NetworkIdentity(display_name(name), kind, _digest(*onnx_files(file)), engine, None, file, 0)
    entry = model_zoo.lookup(name, kind)
    builder = _builder(entry, options)
    if entry.family == "blazepose":
        return _identify_blazepose(kind, name, entry, checkpoint, replace(options, engine=engine))
    if entry.family == "onnx":
        return _identify_published_onnx(kind, name, entry, checkpoint, replace(options, engine=engine))
    if entry.name in TORCH_ONLY:
        if engine.backend not in ("auto", "torch"):
            raise UsageError(f"{name} runs only on torch; use --backend auto, or choose another detector")
        engine = replace(engine, backend="torch")
    engine = resolve_engine(engine, onnx=False)
    if checkpoint is not None and checkpoint.startswith(SEED_PREFIX):
        number = checkpoint.removeprefix(SEED_PREFIX)
        if not number.isdecimal():
            raise UsageError(
                f"checkpoint {checkpoint!r}: random weights are requested as seed:N with an integer N >= 0"
            )
        return NetworkIdentity(display_name(name), kind, checkpoint, engine, entry, None, int(number), builder)
    own = Path(checkpoint) if checkpoint is not None else None
    file = weights.resolve(entry, progress=options.progress, checkpoint=own)
    return NetworkIdentity(display_name(name), kind, _digest(file), engine, entry, file, 0, builder)


def _identify_published_onnx(
    kind: str, name: str, entry: model_zoo.ModelEntry, checkpoint: str | None, options: NetworkOptions
) -> NetworkIdentity:
    if checkpoint is not None:
        raise UsageError(
            f"{name} is an ONNX file with its own weights; instead of --checkpoint {checkpoint}, pass your own "
            f"ONNX file as --{kind}"
        )
    engine = resolve_engine(options.engine, onnx=True)
    file = weights.resolve(entry, progress=options.progress)
    return NetworkIdentity(display_name(name), kind, _digest(file), engine, entry, file, 0)


def _identify_blazepose(
    kind: str, name: str, entry: model_zoo.ModelEntry, checkpoint: str | None, options: NetworkOptions
) -> NetworkIdentity:
    engine = options.engine
    if not has_module("openvino"):
        raise BackendError(f"{name} runs on OpenVINO, which is not installed; run pip install 'skelpipe[blazepose]'")
    if engine.backend not in ("auto", "openvino"):
        raise UsageError(f"{name} runs only on OpenVINO; use --backend auto")
    if engine.device.startswith("cuda"):
        log.warning("%s runs on the CPU, not on %s", name, engine.device)
    if checkpoint is not None and checkpoint.startswith(SEED_PREFIX):
        raise UsageError(f"checkpoint {checkpoint!r}: {name} has no random weights; leave it out")
    # In bf16 a coordinate of 200 pixels has steps of one pixel.
    precision = "fp32" if engine.precision == "auto" else engine.precision
    engine = resolve_engine(replace(engine, device="cpu", backend="openvino", precision=precision), onnx=False)
    assert entry.wheel is not None
    own = Path(checkpoint) if checkpoint is not None else None
    folder = weights.resolve(entry, progress=options.progress, checkpoint=own)
    files = wheel_files.files_in(folder, entry.wheel)
    for file in files:
        if not file.is_file():
            raise WeightsError(f"{file} does not exist; --checkpoint of {name} is a folder with {entry.wheel.names}")
    return NetworkIdentity(
        display_name(name), kind, _digest(*files), engine, entry, folder, 0, _builder(entry, options)
    )


def _digest(*paths: Path) -> str:
    digests = [sha256_of(path) for path in paths]
    return (digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest())[:16]


def load_estimator(
    identity: NetworkIdentity, options: NetworkOptions | None = None
) -> "TopdownEstimator | OpenPifPafEstimator | BlazePoseEstimator":
    """Build the estimator found by `identify`.

    Args:
        identity: The network.
        options: The options passed to `identify`.

    Returns:
        The estimator.

    Raises:
        WeightsError: The weights are unsafe or do not match the network.
        BackendError: A required package is not installed.
    """
    options = options or NetworkOptions()
    engine = identity.engine
    batch_size = options.engine.batch_size or (CPU_POSE_BATCH if engine.on_cpu else GPU_POSE_BATCH)
    if identity.entry is None or identity.entry.family == "onnx":
        assert identity.file is not None
        return estimator_from_onnx(identity.file, engine, batch_size=batch_size, flip_test=options.flip_test)
    if identity.entry.family == "openpifpaf":
        return _load_openpifpaf(identity, options)
    if identity.entry.family == "blazepose":
        return _load_blazepose(identity, options)
    if identity.built_by == OWN:
        assert identity.entry.vitpose is not None
        return load_vitpose(
            identity.entry.vitpose,
            identity.file,
            engine,
            seed=identity.seed,
            batch_size=batch_size,
            flip_test=options.flip_test,
        )
    network, facts = mmlab.build_topdown(identity.entry.config, package=identity.entry.package, seed=identity.seed)
    _load_weights(network, identity)
    runner = from_torch(
        mmlab.heatmap_function(network),
        Normalisation(facts.mean, facts.std, to_rgb=True),
        engine,
        input_size=facts.input_size,
        batch_size=batch_size,
    )
    spec = TopdownSpec(facts.input_size, facts.codec, facts.box_scale, facts.shift_flipped, facts.blur_kernel)
    return TopdownEstimator(runner, spec, flip_test=options.flip_test)


def load_detector(identity: NetworkIdentity, options: NetworkOptions | None = None) -> PersonDetector:
    """Build the detector found by `identify`. Arguments and exceptions are those of `load_estimator`."""
    options = options or NetworkOptions()
    engine, threshold = identity.engine, options.score_threshold
    if threshold is None:
        threshold = identity.entry.score_threshold if identity.entry else model_zoo.SCORE_THRESHOLD
    batch_size = options.frame_batch or _frame_batch(engine)
    if identity.entry is None or identity.entry.family == "onnx":
        assert identity.file is not None
        return detector_from_onnx(identity.file, engine, batch_size=batch_size, score_threshold=threshold)
    if identity.entry.family == "blazepose":
        return BlazePoseDetector(_load_blazepose(identity, options))
    network, config = mmlab.build_detector(identity.entry.package, identity.entry.config, seed=identity.seed)
    _load_weights(network, identity)
    if config.two_stage:
        return TwoStageDetector(network, config, engine, score_threshold=threshold, batch_size=batch_size)
    raw = mmlab.raw_detection_function(network)
    normalisation = Normalisation(config.mean, config.std, to_rgb=config.to_rgb)

    def make_network(input_size: tuple[int, int]) -> ImageNetwork:
        return from_torch(raw, normalisation, engine, input_size=input_size, batch_size=batch_size)

    spec = DetectorSpec(
        input_size=config.input_size,
        decoder="rtmdet",
        pad_value=config.pad_value,
        nms_iou=config.nms_iou,
        person_class=identity.entry.person_class or 0,
        oblong=options.oblong,
    )
    return OneStageDetector(make_network, spec, score_threshold=threshold, batch_size=batch_size)


def _load_blazepose(identity: NetworkIdentity, options: NetworkOptions) -> BlazePoseEstimator:
    assert identity.entry is not None and identity.entry.wheel is not None and identity.file is not None
    finder, looker = wheel_files.files_in(identity.file, identity.entry.wheel)
    engine = identity.engine
    return BlazePoseEstimator(
        # The detector takes values from -1 to 1, the landmark network from 0 to 1.
        from_tflite(
            finder,
            Normalisation((127.5,) * 3, (127.5,) * 3, to_rgb=True),
            engine,
            batch_size=options.frame_batch or CPU_FRAME_BATCH,
        ),
        from_tflite(
            looker,
            Normalisation((0.0,) * 3, (255.0,) * 3, to_rgb=True),
            engine,
            batch_size=options.engine.batch_size or BLAZEPOSE_BATCH,
        ),
        flip_test=options.flip_test,
        tiles=options.tiles,
        score_threshold=options.score_threshold or identity.entry.score_threshold,
    )


def _load_weights(network: "torch.nn.Module", identity: NetworkIdentity) -> None:
    if identity.file is not None:
        # Imported here because it imports torch, which takes seconds and is not needed for ONNX files.
        from pose_extraction.engines.checkpoints import apply_state_dict, load_state_dict

        apply_state_dict(network, load_state_dict(identity.file), source=identity.file)


def _frame_batch(engine: Engine) -> int:
    return CPU_FRAME_BATCH if engine.on_cpu else GPU_FRAME_BATCH


def _load_openpifpaf(identity: NetworkIdentity, options: NetworkOptions) -> "OpenPifPafEstimator":
    # Imported here because of its licence (AGPL-3.0): only when the user has selected it.
    from pose_extraction.engines.checkpoints import load_state_dict
    from pose_extraction.engines.openpifpaf_checkpoint import load_openpifpaf_state_dict
    from pose_extraction.networks import openpifpaf

    assert identity.entry is not None
    if identity.file is None:
        state_dict = None
    elif identity.entry.shipped is not None:
        state_dict = load_state_dict(identity.file)
    else:
        state_dict = load_openpifpaf_state_dict(identity.file).state_dict
    # The network of this project expects frames of its training size; the published networks accept any size.
    size = identity.entry.input_size
    batch_size = options.engine.batch_size or _frame_batch(identity.engine)
    return openpifpaf.OpenPifPafEstimator(
        identity.entry.config,
        state_dict=state_dict,
        seed=identity.seed,
        long_edge=max(size) if size is not None else openpifpaf.LONG_EDGE,
        batch_size=batch_size,
        engine=identity.engine,
    )
