"""The model of a run: its automatic size, and whether it fits the clips and the settings."""

from pose_extraction.errors import UsageError
from pose_extraction.skeleton import COCO17, Skeleton
from recognition.backbones import baselines, gru
from recognition.settings import DataSettings, ModelSettings, TrainingSettings

# Model for "auto": small enough to learn from hundreds of clips, and to train on a CPU in minutes.
SMALL = {"dim": 64, "depth": 2, "heads": 4, "dim_representation": 64, "hidden": 256, "motion": True}
# The same for segments, which are trained five times as fast: every token covers several frames.
SMALL_SEGMENTS = {"dim": 96, "depth": 3, "heads": 4, "mlp_ratio": 2.0, "hidden": 256, "dropout": 0.3}
# Frame rate, placement and third channel of the clips that the base weights were trained on.
BASE_INPUT = (12.0, "box", "seen")
# Number of training clips from which the paper's model is chosen on a GPU.
CLIPS_FOR_PAPER_SIZE = 5000


def choose_model(wanted: ModelSettings, fitting: ModelSettings | None, *, clips: int, cuda: bool) -> ModelSettings:
    """Resolve the model settings; explicit settings are kept.

    Args:
        wanted: Model settings of the run.
        fitting: Model settings that the initial weights require; None without initial weights.
        clips: Number of training clips.
        cuda: Whether the run uses a GPU.
    """
    given = {name: getattr(wanted, name) for name in wanted.model_fields_set}
    given = {name: value for name, value in given.items() if value is not None and name not in ("size", "unseen")}
    unseen = wanted.unseen if wanted.unseen != "auto" else fitting.unseen if fitting else "mask_token"
    if wanted.size == "auto" and fitting is not None:
        return fitting.model_copy(update=given | {"unseen": unseen})
    size = wanted.size
    if size == "auto":
        size = "paper" if cuda and clips >= CLIPS_FOR_PAPER_SIZE else "small"
        if size == "small" and "backbone" not in wanted.model_fields_set:
            given = {"backbone": "segments", "relative": "auto", **SMALL_SEGMENTS, **given}
            return wanted.model_copy(update=given | {"size": size, "unseen": unseen})
    sizes = small_sizes(wanted.backbone) if size == "small" else {}
    return wanted.model_copy(update=sizes | given | {"size": size, "unseen": unseen})


def small_sizes(backbone: str) -> dict[str, object]:
    """Return the model settings of a small network."""
    if backbone in baselines.NAMES:
        return dict(baselines.SMALL[backbone])
    if backbone == gru.NAME:
        return dict(gru.SMALL)
    # The representations of STTFormer and of segments have the width of the last block; a segment already contains the
    # previous frames.
    dropped = {"sttformer": ["dim_representation"], "segments": ["dim_representation", "motion"]}.get(backbone, [])
    return {name: value for name, value in SMALL.items() if name not in dropped}


def fits_base(model: ModelSettings, data: DataSettings) -> bool:
    """Return whether the base weights of the package belong to a network of this size, with such input."""
    sizes = {name: value for name, value in SMALL_SEGMENTS.items() if name not in ("hidden", "dropout")}
    same = {"backbone": "segments", "relative": True, "segment_frames": None, "unseen": "mask_token", **sizes}
    return all(getattr(model, name) == value for name, value in same.items()) and (
        (data.frame_rate, data.placement, data.scores) == BASE_INPUT
        and model.hidden == SMALL_SEGMENTS["hidden"]
        and model.max_frames == ModelSettings.model_fields["max_frames"].default
    )


def with_relative_inputs(model: ModelSettings, layout: Skeleton, dimensions: int) -> ModelSettings:
    """Resolve whether the input contains relative positions.

    Raises:
        UsageError: They are required, but not defined for these joints.
    """
    possible = layout.name == COCO17.name and dimensions == 2
    if model.relative is True and not possible:
        raise UsageError(
            f"model.relative=true requires {COCO17.name} in 2D, but the network sees {layout.name} in {dimensions}D; "
            "set model.relative=auto"
        )
    return model.model_copy(update={"relative": possible and bool(model.relative)})


def check_model(model: ModelSettings, data: DataSettings, training: TrainingSettings) -> None:
    """Refuse a model that does not fit the lengths of the clips or the settings of the training.

    Raises:
        UsageError: The clips are longer than the network's temporal embedding, or its layers have no depth to decay
            the learning rate by.
    """
    longest = data.max_frames if data.num_frames == "own" else data.num_frames
    if longest > model.max_frames:
        raise UsageError(
            f"clips have up to {longest} frames (data.num_frames, data.max_frames), but the network's temporal "
            f"embedding has {model.max_frames}; set model.max_frames={longest}"
        )
    if training.layer_decay < 1 and model.backbone != "segments":
        raise UsageError(
            f"training.layer_decay={training.layer_decay} requires model.backbone=segments, but the backbone is "
            f"{model.backbone}; omit it"
        )
