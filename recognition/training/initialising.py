"""Initial weights of a run: from an earlier run, possibly with other classes, or from MotionBERT's files."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pose_extraction.engines.checkpoints import apply_state_dict
from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.skeleton import H36M17
from recognition import run_names, runs
from recognition.backbones.dstformer import DSTFormer
from recognition.backbones.gru import RecurrentBackbone
from recognition.data.descriptors.extending import Known, known_of
from recognition.recognizer import Recognizer
from recognition.run_file import is_run_file
from recognition.settings import DataSettings, ModelSettings, RunSettings
from recognition.training.motionbert import load_motionbert, motionbert_sizes

if TYPE_CHECKING:
    from recognition.pretraining.encoder import Pretrained
    from recognition.pretraining.settings import PretrainSettings

# Settings that determine the input of a network; they are taken from its training unless the configuration sets them.
_READING = (
    "num_frames", "max_frames", "max_persons", "resample", "placement", "part_range_train", "part_min_frames",
    "part_test", "rotation", "random_move", "score_threshold", "scores", "scale_range_train", "scale_range_test",
)  # fmt: skip
# The last layer of the head, with one row per class.
_CLASSES = "head.fc2."


def earlier_run(init: str) -> runs.Trained | None:
    """Load the run that `init` names; return None if it is a file of another project's weights.

    Args:
        init: A run directory or a file of weights.

    Raises:
        WeightsError: The run or file does not exist, or is damaged.
    """
    path = runs.run_file(init)
    return runs.load_run(path) if is_run_file(path) else None


def pretrained_encoder(init: str) -> "Pretrained | None":
    """Load the pre-trained encoder that `init` names; return None if it is something else.

    Args:
        init: A directory of `skelpipe pretrain`, or one of its files.

    Raises:
        WeightsError: The file is damaged.
        UsageError: The encoder takes bones or motion as input, but recognizers take joints.
    """
    # Imported here because pre-training imports this module.
    from recognition.pretraining.encoder import is_pretrained, load_pretrained

    path = run_names.located(init)
    if not is_pretrained(path):
        return None
    found = load_pretrained(path)
    if found.settings.shown != "joint":
        wanted = "pcm3.stream=joint" if found.settings.method == "pcm3" else "mamp.input=joint"
        raise UsageError(
            f"{init}: was pre-trained on the {found.settings.shown} stream, but recognizers take joints as input; "
            f"measure it with `skelpipe evaluate {init} --protocol finetune`, or start from {wanted}"
        )
    return found


@dataclass(frozen=True)
class WeightsSettings:
    """Settings that weights require.

    Args:
        model: Model settings.
        layout: Name of the joint layout.
        data: Data settings that the weights were trained with, those in `_READING`; empty for MotionBERT.
    """

    model: ModelSettings
    layout: str
    data: dict[str, Any]


def settings_of_weights(init: str) -> WeightsSettings:
    """Return the settings that weights require.

    Args:
        init: A run, a pre-trained encoder, or a file of MotionBERT.

    Raises:
        WeightsError: The weights are missing, damaged, or of an unknown kind.
        UsageError: The weights belong to an encoder that recognizers cannot use.
    """
    pretrained = pretrained_encoder(init)
    if pretrained is not None:
        return WeightsSettings(_model_of(pretrained.settings), pretrained.layout, _reading(pretrained.settings.data))
    earlier = earlier_run(init)
    if earlier is not None:
        return WeightsSettings(earlier.settings.model, earlier.layout, _reading(earlier.settings.data))
    # MotionBERT was trained with zeros for joints that were not seen.
    model = ModelSettings(backbone="dstformer", unseen="embed", **motionbert_sizes(Path(init)))
    return WeightsSettings(model, H36M17.name, {})


def settings_of_run(begun: RunSettings) -> WeightsSettings:
    """Return the settings of the weights of a run that is being resumed, from its resolved settings."""
    return WeightsSettings(begun.model, begun.data.model_layout, _reading(begun.data))


def _reading(data: DataSettings) -> dict[str, Any]:
    return {name: getattr(data, name) for name in _READING}


def _model_of(settings: "PretrainSettings") -> ModelSettings:
    """Return the model settings of a pre-trained encoder."""
    if settings.method == "mamp":
        return settings.model
    frames = settings.data.num_frames
    assert isinstance(frames, int)
    # The encoder was trained with zeros for joints that were not seen.
    return ModelSettings(
        backbone="gru",
        dim=settings.pcm3.hidden,
        depth=settings.pcm3.layers,
        persons=settings.data.max_persons,
        max_frames=frames,
        unseen="embed",
        dropout=0.0,
    )


def initialise(recognizer: Recognizer, init: str, *, label_names: list[str], dimensions: int) -> str:
    """Load weights into a network. If the classes differ, the head's last layer keeps its random weights.

    Prototypes are not loaded, because they belong to the earlier classes and weights.

    Args:
        recognizer: The network; modified in place.
        init: A run directory, one of its files of weights, or a checkpoint of MotionBERT.
        label_names: Classes of the new run, in order.
        dimensions: Coordinates per joint in the new run's skeletons, 2 or 3.

    Returns:
        A sentence that summarises what was loaded.

    Raises:
        WeightsError: The weights are missing, damaged, or do not fit the network's size.
        UsageError: MotionBERT's weights with another backbone, or weights for 3D joints with 2D skeletons or vice
            versa.
    """
    pretrained = pretrained_encoder(init)
    if pretrained is not None:
        _check_dimensions(init, pretrained.dimensions, dimensions)
        return _load_encoder(recognizer, pretrained)
    earlier = earlier_run(init)
    if earlier is not None:
        _check_dimensions(init, earlier.dimensions, dimensions)
        return _load_run(recognizer, earlier, label_names)
    if not isinstance(recognizer.backbone, DSTFormer):
        raise UsageError(f"{init}: MotionBERT's weights require model.backbone=dstformer")
    _check_dimensions(init, 2, dimensions)
    report = load_motionbert(recognizer.backbone, Path(init))
    left = f"; ignored in the file: {', '.join(report.ignored)}" if report.ignored else ""
    fresh = f"; starting at random: {', '.join(report.absent)} and the head" if report.absent else ""
    return f"{init}: loaded {report.loaded} tensors of the backbone{fresh}{left}"


def _load_encoder(recognizer: Recognizer, pretrained: "Pretrained") -> str:
    backbone = recognizer.backbone
    network = backbone.encoder if isinstance(backbone, RecurrentBackbone) else backbone
    loaded = _apply(network, pretrained.encoder.network.state_dict(), source=pretrained.path)
    return f"{pretrained.path}: loaded {loaded} tensors of the pre-trained encoder; the head starts at random"


def _load_run(recognizer: Recognizer, earlier: runs.Trained, label_names: list[str]) -> str:
    # The classifier of descriptors has no weights to continue from; it is fitted to the clips of each run.
    weights = {name: tensor for name, tensor in earlier.recognizer.state_dict().items() if not _is_movement(name)}
    own = recognizer.state_dict()
    weights |= {name: tensor for name, tensor in own.items() if _is_movement(name)}
    if earlier.label_names == tuple(label_names):
        return f"{earlier.path}: loaded all {_apply(recognizer, weights, source=earlier.path)} tensors"
    fresh = {name: tensor for name, tensor in own.items() if name.startswith(_CLASSES)}
    loaded = _apply(recognizer, weights | fresh, source=earlier.path) - len(fresh)
    added = len(label_names) - len(earlier.label_names)
    if added > 0 and set(earlier.label_names) <= set(label_names):
        rows = [label_names.index(name) for name in earlier.label_names]
        with torch.no_grad():
            for name, parameter in recognizer.named_parameters():
                if name in fresh:
                    parameter[rows] = weights[name].to(parameter.dtype)
        return (
            f"{earlier.path}: loaded {loaded} tensors, and the classes of the last layer; {added} more start at random"
        )
    return (
        f"{earlier.path}: loaded {loaded} tensors; the last layer of the head starts at random, for "
        f"{len(label_names)} classes instead of {len(earlier.label_names)}"
    )


def known_movement(init: str | None, label_names: list[str]) -> Known:
    """Return the classifier of descriptors of the initial run, with the class numbers of this run.

    Args:
        init: The initial run.
        label_names: Classes of this run, in order.

    Raises:
        UsageError: There is no initial run with such a classifier, or this run lacks one of its classes.
    """
    earlier = None if init is None or pretrained_encoder(init) is not None else earlier_run(init)
    movement = None if earlier is None else earlier.recognizer.movement
    if earlier is None or movement is None or not movement.is_fitted:
        raise UsageError(
            f"training.keep_descriptors requires initial weights of a run with data.descriptors=true, but init is "
            f"{init}; omit it, or start from such a run with --init"
        )
    lost = [name for name in earlier.label_names if name not in label_names]
    if lost:
        raise UsageError(
            f"training.keep_descriptors: the data do not list class {lost[0]!r} of {init}; add it to their "
            '"label_names", or omit the setting'
        )
    return known_of(movement).renumbered([label_names.index(name) for name in earlier.label_names])


def _is_movement(name: str) -> bool:
    return name.startswith("movement.")


def _apply(network: nn.Module, weights: dict[str, Any], *, source: Path) -> int:
    """Load weights into a network of the same size; return their number."""
    try:
        return apply_state_dict(network, weights, source=source, ignore=()).loaded
    except WeightsError as error:
        raise WeightsError(f"{error}; set model=auto to use the model of the run") from error


def _check_dimensions(init: str, before: int | None, now: int) -> None:
    """Refuse weights for which the third number of a joint has another meaning: a score in 2D, z in 3D.

    Raises:
        UsageError: The dimensions differ.
    """
    if before not in (None, now):
        raise UsageError(
            f"{init}: was trained on joints in {before}D, but these are in {now}D; start from weights for such joints, "
            "or without --init"
        )
