"""Build the pose estimators and person detectors that `identity` finds."""

from dataclasses import replace
from typing import TYPE_CHECKING

from pose_extraction.engines.engine import Engine
from pose_extraction.engines.image_networks import ImageNetwork, Normalisation, from_tflite, from_torch
from pose_extraction.engines.runtimes import torch_device
from pose_extraction.engines.warping import DeviceWarp, warp_in_memory
from pose_extraction.networks import model_zoo
from pose_extraction.networks.blazepose import wheel_files
from pose_extraction.networks.blazepose.estimator import BlazePoseDetector, BlazePoseEstimator
from pose_extraction.networks.detection import PersonDetector
from pose_extraction.networks.identity import OWN, NetworkIdentity, NetworkOptions
from pose_extraction.networks.one_stage import DetectorSpec, OneStageDetector
from pose_extraction.networks.onnx_models import detector_from_onnx, estimator_from_onnx
from pose_extraction.networks.openmmlab import mmlab
from pose_extraction.networks.openmmlab.two_stage import TwoStageDetector
from pose_extraction.networks.topdown import TopdownEstimator, TopdownSpec
from pose_extraction.networks.vitpose.estimator import vitpose_network

if TYPE_CHECKING:
    import torch

    from pose_extraction.networks.openpifpaf import OpenPifPafEstimator

# Measured on two cores, where larger batches are not faster. The GPU values are guesses, far below the memory limit.
CPU_POSE_BATCH, CPU_FRAME_BATCH = 8, 2
GPU_POSE_BATCH, GPU_FRAME_BATCH = 64, 16
# Most videos show one person, and a batch that is not full takes as long as a full one.
BLAZEPOSE_BATCH = 1


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
    network, normalisation, spec = topdown_network(identity)
    runner = from_torch(network, normalisation, engine, input_size=spec.input_size, batch_size=batch_size)
    # Where it runs on a CPU, OpenCV is faster.
    on_gpu = engine.backend == "torch" and not engine.on_cpu
    warp = DeviceWarp(torch_device(engine)) if on_gpu else warp_in_memory
    return TopdownEstimator(runner, spec, flip_test=options.flip_test, warp=warp)


def topdown_network(identity: NetworkIdentity) -> "tuple[torch.nn.Module, Normalisation, TopdownSpec]":
    """Build the network of a top-down estimator that torch runs, on the CPU.

    Args:
        identity: The network, with a row in the model table.

    Returns:
        The network, which takes normalised crops, their normalisation, and the format of input and output.

    Raises:
        WeightsError: The weights are unsafe or do not match the network.
        BackendError: A required package is not installed.
    """
    entry = identity.entry
    assert entry is not None
    if identity.built_by == OWN:
        assert entry.vitpose is not None
        return vitpose_network(entry.vitpose, identity.file, seed=identity.seed)
    network, facts = mmlab.build_topdown(entry.config, package=entry.package, seed=identity.seed)
    _load_weights(network, identity)
    spec = TopdownSpec(facts.input_size, facts.codec, facts.box_scale, facts.shift_flipped, facts.blur_kernel)
    return mmlab.heatmap_function(network), Normalisation(facts.mean, facts.std, to_rgb=True), spec


def load_detector(identity: NetworkIdentity, options: NetworkOptions | None = None) -> PersonDetector:
    """Build the detector found by `identify`. Arguments and exceptions are those of `load_estimator`."""
    options = options or NetworkOptions()
    engine, threshold = identity.engine, options.score_threshold
    if threshold is None and identity.entry is not None:
        threshold = identity.entry.score_threshold
    batch_size = options.frame_batch or _frame_batch(engine)
    if identity.entry is None or identity.entry.family == "onnx":
        assert identity.file is not None
        return detector_from_onnx(
            identity.file, engine, batch_size=batch_size, score_threshold=threshold, oblong=options.oblong
        )
    assert threshold is not None
    if identity.entry.family == "blazepose":
        return BlazePoseDetector(_load_blazepose(identity, options))
    network, config = mmlab.build_detector(identity.entry.package, identity.entry.config, seed=identity.seed)
    _load_weights(network, identity)
    if config.two_stage:
        return TwoStageDetector(network, config, engine, score_threshold=threshold, batch_size=batch_size)
    raw, normalisation, spec = _one_stage_parts(network, config, identity.entry)

    def make_network(input_size: tuple[int, int]) -> ImageNetwork:
        return from_torch(raw, normalisation, engine, input_size=input_size, batch_size=batch_size)

    return OneStageDetector(
        make_network, replace(spec, oblong=options.oblong), score_threshold=threshold, batch_size=batch_size
    )


def one_stage_network(identity: NetworkIdentity) -> "tuple[torch.nn.Module, Normalisation, DetectorSpec]":
    """Build the network of a one-stage detector of mmdet, on the CPU.

    Args:
        identity: The network, with a row in the model table.

    Returns:
        The network, which takes normalised images and returns what `decode_rtmdet` takes; their normalisation, and the
        format of input and output.

    Raises:
        WeightsError: The weights are unsafe or do not match the network.
        BackendError: A required package is not installed.
    """
    entry = identity.entry
    assert entry is not None
    network, config = mmlab.build_detector(entry.package, entry.config, seed=identity.seed)
    _load_weights(network, identity)
    return _one_stage_parts(network, config, entry)


def _one_stage_parts(
    network: "torch.nn.Module", config: mmlab.DetectorConfig, entry: model_zoo.ModelEntry
) -> "tuple[torch.nn.Module, Normalisation, DetectorSpec]":
    spec = DetectorSpec(
        input_size=config.input_size,
        decoder="rtmdet",
        pad_value=config.pad_value,
        nms_iou=config.nms_iou,
        person_class=entry.person_class or 0,
    )
    normalisation = Normalisation(config.mean, config.std, to_rgb=config.to_rgb)
    return mmlab.raw_detection_function(network), normalisation, spec


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
