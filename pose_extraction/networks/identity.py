"""Find the network that `--estimator` or `--detector` names: its weights, where it runs, and what builds it.

The networks are built by `estimators`.
"""

import hashlib
import importlib
import importlib.metadata
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pose_extraction.engines.engine import Engine, has_module, resolve_engine
from pose_extraction.engines.torch_extra import require_torch
from pose_extraction.errors import BackendError, UsageError, WeightsError, installing
from pose_extraction.files import sha256_of
from pose_extraction.networks import model_zoo, weights
from pose_extraction.networks.blazepose import wheel_files
from pose_extraction.networks.names import check_exists, display_name, is_blazepose, is_onnx, is_published_onnx
from pose_extraction.networks.onnx_models import onnx_files
from pose_extraction.networks.openmmlab import mmlab

log = logging.getLogger(__name__)

SEED_PREFIX = "seed:"
# What builds the networks of this project in plain torch, in the facts of a result.
OWN = "skelpipe"
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
        weights_option: Option of a command that only reads the weights, for messages; None for commands that run
            networks, whose options are --checkpoint, --detector-checkpoint, --estimator and --detector.
    """

    engine: Engine = field(default_factory=Engine)
    frame_batch: int | None = None
    flip_test: bool = False
    score_threshold: float | None = None
    oblong: bool = True
    tiles: str = "auto"
    builder: str = "auto"
    progress: Callable[[int, int | None], None] | None = None
    weights_option: str | None = None


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

    def record(self) -> dict[str, str]:
        """Return `facts`, and where the weights come from, if a name does not tell.

        That is the path of an ONNX file, or the commit of a file from the hub of models.
        """
        if self.file is None:
            return self.facts()
        if self.entry is None:
            return {**self.facts(), "file": str(self.file.absolute())}
        source = weights.hub_file(self.entry) if self.file == weights.cached_path(self.entry) else None
        return self.facts() if source is None else {**self.facts(), "revision": source.revision}


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
            option = _checkpoint_option(kind)
            raise UsageError(f"{name} contains its own weights, so {option} {checkpoint} cannot be used with it")
        check_exists(name, kind)
        file = Path(name)
        engine = resolve_engine(engine, onnx=True)
        return NetworkIdentity(display_name(name), kind, digest_of_onnx(file), engine, None, file, 0)
    entry = model_zoo.lookup(name, kind)
    builder = _builder(entry, options)
    if entry.family == "blazepose":
        return replace(
            _identify_blazepose(kind, name, entry, checkpoint, replace(options, engine=engine)), built_by=builder
        )
    if entry.family == "onnx":
        return _identify_published_onnx(kind, name, entry, checkpoint, replace(options, engine=engine))
    if entry.name in TORCH_ONLY:
        if engine.backend not in ("auto", "torch"):
            raise UsageError(f"{name} runs only on torch; use --backend auto, or choose another detector")
        engine = replace(engine, backend="torch")
    require_torch(f"{kind} {name}")
    engine = resolve_engine(engine, onnx=False)
    if checkpoint is not None and checkpoint.startswith(SEED_PREFIX):
        number = checkpoint.removeprefix(SEED_PREFIX)
        if not number.isdecimal():
            raise UsageError(
                f"checkpoint {checkpoint!r}: random weights are requested as seed:N with an integer N >= 0"
            )
        return NetworkIdentity(display_name(name), kind, checkpoint, engine, entry, None, int(number), builder)
    own = Path(checkpoint) if checkpoint is not None else None
    instead = _without_official(kind, entry, options)
    file = weights.resolve(entry, progress=options.progress, checkpoint=own, instead=instead)
    return NetworkIdentity(display_name(name), kind, _digest(file), engine, entry, file, 0, builder)


def _checkpoint_option(kind: str) -> str:
    return "--checkpoint" if kind == "estimator" else "--detector-checkpoint"


def _without_official(kind: str, entry: model_zoo.ModelEntry, options: NetworkOptions) -> str:
    """Return the options that make the official weights of a network unnecessary, for messages."""
    if options.weights_option is not None:
        return f"{options.weights_option} FILE"
    if entry.family == "onnx":
        own = f"--{kind} FILE.onnx"
    else:
        own = f"{_checkpoint_option(kind)} {'FILE' if entry.wheel is None else 'FOLDER'}"
    if entry.family == "blazepose":
        return own
    first = "" if has_module("openvino") else f", after {installing('blazepose')}"
    return f"{own}, or --{kind} blazepose{first}"


def _identify_published_onnx(
    kind: str, name: str, entry: model_zoo.ModelEntry, checkpoint: str | None, options: NetworkOptions
) -> NetworkIdentity:
    if checkpoint is not None:
        raise UsageError(
            f"{name} is an ONNX file with its own weights; instead of {_checkpoint_option(kind)} {checkpoint}, pass "
            f"your own ONNX file as --{kind}"
        )
    engine = resolve_engine(options.engine, onnx=True)
    file = weights.resolve(entry, progress=options.progress, instead=_without_official(kind, entry, options))
    return NetworkIdentity(display_name(name), kind, _digest(file), engine, entry, file, 0)


def _identify_blazepose(
    kind: str, name: str, entry: model_zoo.ModelEntry, checkpoint: str | None, options: NetworkOptions
) -> NetworkIdentity:
    engine = options.engine
    if not has_module("openvino"):
        raise BackendError(f"{name} runs on OpenVINO, which is not installed; run {installing('blazepose')}")
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
    instead = _without_official(kind, entry, options)
    folder = weights.resolve(entry, progress=options.progress, checkpoint=own, instead=instead)
    files = wheel_files.files_in(folder, entry.wheel)
    for file in files:
        if not file.is_file():
            raise WeightsError(
                f"{file} does not exist; {_checkpoint_option(kind)} of {name} is a folder with {entry.wheel.names}"
            )
    return NetworkIdentity(display_name(name), kind, _digest(*files), engine, entry, folder, 0)


def digest_of_onnx(file: Path) -> str:
    """Return the first digits of the SHA-256 of an ONNX network and its settings.

    Args:
        file: ONNX file.

    Raises:
        WeightsError: The file is not a readable ONNX network.
    """
    return _digest(*onnx_files(file))


def _digest(*paths: Path) -> str:
    digests = [sha256_of(path) for path in paths]
    return (digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest())[:16]
