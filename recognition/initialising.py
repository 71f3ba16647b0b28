"""Where a run's weights begin when not at random: an earlier run, on other classes perhaps, or MotionBERT's files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pose_extraction.checkpoints import apply_state_dict
from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.skeleton import H36M17
from recognition import runs
from recognition.backbones.dstformer import DSTFormer
from recognition.backbones.gru import RecurrentBackbone
from recognition.motionbert import load_motionbert, motionbert_sizes
from recognition.recognizer import Recognizer
from recognition.settings import ModelSettings, RunSettings

if TYPE_CHECKING:
    from recognition.pretraining.encoder import Pretrained
    from recognition.pretraining.settings import PretrainSettings

# What a network has to be shown as it was before, where a config does not say otherwise.
_READING = (
    "num_frames", "max_frames", "max_persons", "resample", "placement", "part_range_train", "part_min_frames",
    "part_test", "rotation", "random_move", "score_threshold", "scores", "scale_range_train", "scale_range_test",
)  # fmt: skip
# The head's last layer, one row a class.
_CLASSES = "head.fc2."


def earlier_run(init: str) -> runs.Trained | None:
    """The run that `init` names; None where it is a file of somebody else's weights.

    Raises:
        WeightsError: There is no such run or file, or it is damaged.
    """
    path = runs.run_file(init)
    return runs.load_run(path) if runs.is_run_file(path) else None


def pretrained_encoder(init: str) -> "Pretrained | None":
    """The pre-trained encoder that `init` names; None where it is something else.

    Raises:
        WeightsError: It is damaged.
        UsageError: It sees bones or motion, which recognizers are not shown.
    """
    # Pre-training is built on what this file is a part of.
    from recognition.pretraining.encoder import is_pretrained, load_pretrained

    path = Path(init)
    if not is_pretrained(path):
        return None
    found = load_pretrained(path)
    if found.settings.shown != "joint":
        wanted = "pcm3.stream=joint" if found.settings.method == "pcm3" else "mamp.input=joint"
        raise UsageError(
            f"{init}: was pre-trained on the stream {found.settings.shown}, and recognizers are shown joints; "
            f"measure it with `skelpipe evaluate {init} --protocol finetune`, or start from {wanted}"
        )
    return found


def fitting_settings(init: str) -> tuple[ModelSettings, str, dict[str, Any]]:
    """The model and the joint layout that weights ask for, and settings of data that they were trained with.

    Raises:
        WeightsError: They are missing, damaged, or neither a run's nor MotionBERT's.
        UsageError: They are of an encoder that no recognizer has.
    """
    pretrained = pretrained_encoder(init)
    if pretrained is not None:
        data = pretrained.settings.data
        return _model_of(pretrained.settings), pretrained.layout, {name: getattr(data, name) for name in _READING}
    earlier = earlier_run(init)
    if earlier is None:
        # MotionBERT was trained with zeros in the place of joints that were not seen.
        return ModelSettings(backbone="dstformer", unseen="embed", **motionbert_sizes(Path(init))), H36M17.name, {}
    data = earlier.settings.data
    return earlier.settings.model, earlier.layout, {name: getattr(data, name) for name in _READING}


def settings_of(begun: RunSettings) -> tuple[ModelSettings, str, dict[str, Any]]:
    """What `fitting_settings` told of a run that has begun, out of its resolved settings."""
    return begun.model, begun.data.model_layout, {name: getattr(begun.data, name) for name in _READING}


def _model_of(settings: "PretrainSettings") -> ModelSettings:
    """The backbone that a pre-trained encoder is."""
    if settings.method == "mamp":
        return settings.model
    frames = settings.data.num_frames
    assert isinstance(frames, int)
    # Joints that were not seen were zeros to it.
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
    """Puts weights into a network; the head's last layer stays fresh where the classes are others.

    Prototypes are of the old classes and of the old weights, so they are not taken.

    Args:
        recognizer: The network.
        init: A run directory, one of its .pt files, or a checkpoint of MotionBERT.
        label_names: Classes of the new run, in order.
        dimensions: Coordinates of a joint in its skeletons, 2 or 3.

    Returns:
        What was taken, in a sentence.

    Raises:
        WeightsError: Missing, damaged, or of a network of another size.
        UsageError: Weights of MotionBERT for another backbone, or weights for joints in 3D that are in 2D here, or the
            other way about.
    """
    pretrained = pretrained_encoder(init)
    if pretrained is not None:
        _check_dimensions(init, pretrained.dimensions, dimensions)
        backbone = recognizer.backbone
        network = backbone.encoder if isinstance(backbone, RecurrentBackbone) else backbone
        try:
            taken = apply_state_dict(
                network, pretrained.encoder.network.state_dict(), source=pretrained.path, ignore=()
            ).loaded
        except WeightsError as error:
            raise WeightsError(f"{error}; leave the model to the run with model=auto") from error
        return f"{pretrained.path}: {taken} tensors of the pre-trained encoder taken; the head begins at random"
    earlier = earlier_run(init)
    if earlier is None:
        if not isinstance(recognizer.backbone, DSTFormer):
            raise UsageError(f"{init}: weights of MotionBERT are for model.backbone=dstformer alone")
        _check_dimensions(init, 2, dimensions)
        report = load_motionbert(recognizer.backbone, Path(init))
        left = f"; left in the file: {', '.join(report.ignored)}" if report.ignored else ""
        fresh = f"; begins at random: {', '.join(report.absent)} and the head" if report.absent else ""
        return f"{init}: {report.loaded} tensors of the backbone taken{fresh}{left}"
    _check_dimensions(init, earlier.dimensions, dimensions)
    weights = dict(earlier.recognizer.state_dict())
    same_classes = earlier.label_names == tuple(label_names)
    if not same_classes:
        own = recognizer.state_dict()
        weights |= {name: tensor for name, tensor in own.items() if name.startswith(_CLASSES)}
    try:
        loaded = apply_state_dict(recognizer, weights, source=earlier.path, ignore=()).loaded
    except WeightsError as error:
        raise WeightsError(f"{error}; leave the model to the run with model=auto") from error
    if same_classes:
        return f"{earlier.path}: all {loaded} tensors taken"
    fresh_count = sum(name.startswith(_CLASSES) for name in weights)
    return (
        f"{earlier.path}: {loaded - fresh_count} tensors taken; the head's last layer begins at random, for "
        f"{len(label_names)} classes in place of {len(earlier.label_names)}"
    )


def _check_dimensions(init: str, before: int | None, now: int) -> None:
    """Refuses weights whose third number of a joint means another thing: a score in 2D, z in 3D.

    Raises:
        UsageError: It does.
    """
    if before not in (None, now):
        raise UsageError(
            f"{init}: was trained on joints in {before}D, and these are in {now}D; start from weights for such joints, "
            "or without --init"
        )
