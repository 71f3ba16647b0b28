"""Prepares a pre-training from its settings: clips, labelled or not, and an objective for their joints."""

import numpy as np
import torch
from torch import nn

from pose_extraction.engines.engine import resolve_training_engine
from pose_extraction.errors import UsageError, counted
from pose_extraction.skeleton import Skeleton
from recognition.backbones.gru import GRUEncoder
from recognition.backbones.segments import SEGMENT_FRAMES, SegmentTransformer
from recognition.data.batches import CHANNELS
from recognition.data.clip_transforms import layout_of_model
from recognition.data.clips import open_clips
from recognition.data.skeleton_file import skeleton_file_of
from recognition.data.splits import split_indices, training_split
from recognition.engine.prepared_run import PreparedRun, check_accumulation, check_transforms, resolve
from recognition.pretraining.mamp import MAMP, kept_tokens
from recognition.pretraining.networks import build_encoder
from recognition.pretraining.pcm3 import PCM3
from recognition.pretraining.settings import PretrainSettings
from recognition.pretraining.streams import bone_parents
from recognition.pretraining.views import body_parts, masked_parts
from recognition.settings import ModelSettings


class Pretraining(PreparedRun[PretrainSettings]):
    """Data and settings of a pre-training. Nothing is held out, and no classes are learned."""

    @property
    def label_names(self) -> list[str]:
        return []

    def build_objective(self) -> nn.Module:
        """Build the objective with initial weights."""
        return build_objective(self.settings, self.layout, self.clips.dimensions)


def prepare_pretraining(settings: PretrainSettings) -> Pretraining:
    """Open the skeleton file and resolve the settings that depend on it or on the machine.

    Args:
        settings: Settings of the pre-training; "auto" is resolved.

    Raises:
        UsageError: Settings are incompatible with each other or with the file.
        AnnotationError: The file is malformed.
        BackendError: The device is not available.
    """
    check_together(settings)
    data = settings.data
    # Persons without a label are learned from, too.
    clips = open_clips(skeleton_file_of(data), data, leave_out_empty=True, cut_persons=False)
    layout = layout_of_model(clips, data)
    check_transforms(clips, data, layout)
    # Pre-training needs no labels.
    chosen = split_indices(clips, training_split(clips, data))
    if len(chosen) < 2:
        raise UsageError(f"{clips.path}: has {len(chosen)} training clips; pre-training requires at least 2")
    resolved = resolve(
        settings,
        clips=clips,
        layout=layout,
        engine=resolve_training_engine(settings.training.device, settings.training.precision),
        name=settings.method,
        data={"max_frames": data.num_frames},
        model=_model_for(settings, layout),
    )
    prepared = Pretraining(
        settings=resolved,
        clips=clips,
        training=chosen,
        held_out=chosen[:0],
        layout=layout,
        left_out=tuple(clips.skipped),
        notes=(f"skipped {counted(len(clips.skipped), 'clip')}; the first: {clips.skipped[0]}",)
        if clips.skipped
        else (),
    )
    # Report missing properties of the layout before anything is written.
    with torch.device("meta"):
        prepared.build_objective()
    return prepared


def check_together(settings: PretrainSettings) -> None:
    """Refuse settings that contradict each other.

    Raises:
        UsageError: Two settings contradict each other, or a setting does not apply to pre-training.
    """
    data, training = settings.data, settings.training
    check_accumulation(training)
    if training.warmup_epochs >= training.epochs:
        raise UsageError(
            f"training.warmup_epochs {training.warmup_epochs} must be less than training.epochs {training.epochs}; "
            "set it lower"
        )
    if late := [epoch for epoch in training.keep_epochs if epoch > training.epochs]:
        raise UsageError(
            f"training.keep_epochs: epoch {late[0]} exceeds training.epochs {training.epochs}; set it lower, or to []"
        )
    if data.num_frames == "own" or data.legacy:
        raise UsageError(
            "pre-training requires clips of one length: set data.num_frames to a number, and data.legacy=false"
        )


def _model_for(settings: PretrainSettings, layout: Skeleton) -> ModelSettings:
    """Check the method's settings, and return those of MAMP's encoder."""
    if settings.method == "pcm3":
        _check_pcm3(settings, layout)
        return settings.model
    model = _fitting_model(settings)
    _check_mamp(settings, layout, model)
    return model


def _fitting_model(settings: PretrainSettings) -> ModelSettings:
    frames, model = settings.data.num_frames, settings.model
    if model.backbone != "segments":
        raise UsageError(f"model.backbone={model.backbone}: MAMP trains model.backbone=segments")
    length = model.segment_frames or SEGMENT_FRAMES
    if isinstance(frames, int) and frames % length:
        raise UsageError(
            f"data.num_frames={frames} is not a multiple of model.segment_frames={length}; set it to "
            f"{-(-frames // length) * length}"
        )
    unseen = "mask_token" if model.unseen == "auto" else model.unseen
    return model.model_copy(update={"max_frames": frames, "unseen": unseen})


def _check_mamp(settings: PretrainSettings, layout: Skeleton, model: ModelSettings) -> None:
    """Check that masks hide at least one token.

    Raises:
        UsageError: They hide none.
    """
    frames = settings.data.num_frames
    assert isinstance(frames, int)
    tokens = frames // (model.segment_frames or SEGMENT_FRAMES) * layout.num_joints
    if kept_tokens(tokens, settings.mamp.ratio) == tokens:
        raise UsageError(
            f"mamp.ratio={settings.mamp.ratio:g} hides none of the {tokens} tokens of a sequence, so that nothing is "
            "predicted; set it higher, such as 0.9"
        )


def _check_pcm3(settings: PretrainSettings, layout: Skeleton) -> None:
    """Check that there is a loss and that masks hide at least one part.

    Raises:
        UsageError: There is none, the layout has no body parts, or the data settings duplicate PCM3's augmentation.
    """
    chosen = settings.pcm3
    if settings.data.shear > 0:
        raise UsageError("method=pcm3 shears clips itself and cannot be combined with data.shear; set data.shear=0")
    if not chosen.positives and not chosen.prediction:
        raise UsageError(
            "pcm3.positives=[] and pcm3.prediction=0 leave no loss to train with; name pairs, such as "
            "pcm3.positives=[intra,inter], or set pcm3.prediction above 0"
        )
    masks = chosen.prediction > 0 or not {"mask", "predict"}.isdisjoint(chosen.positives)
    parts = len(body_parts(layout))
    if masks and chosen.masking == "topology" and not masked_parts(parts, chosen.ratio):
        raise UsageError(
            f"pcm3.ratio={chosen.ratio:g} masks none of the {parts} body parts of {layout.name}; set it to "
            f"{1 / parts:.2g} or more, or pcm3.masking=random"
        )


def build_objective(settings: PretrainSettings, layout: Skeleton, dimensions: int) -> nn.Module:
    """Build a method's objective (network and losses) with initial weights.

    Args:
        settings: Resolved settings.
        layout: Joint layout that the network receives.
        dimensions: 2 or 3, coordinates per joint.

    Raises:
        UsageError: The sizes are incompatible, or the layout lacks properties that the method needs.
    """
    encoder = build_encoder(settings, layout)
    if isinstance(encoder, SegmentTransformer):
        return MAMP(
            encoder,
            settings.mamp,
            dimensions=dimensions,
            heads=settings.model.heads or 8,
            mlp_ratio=settings.model.mlp_ratio or 4.0,
            seed=settings.training.seed,
        )
    assert isinstance(encoder, GRUEncoder)
    parents = (
        bone_parents(layout, settings.pcm3.bones) if settings.pcm3.stream == "bone" else np.arange(layout.num_joints)
    )
    return PCM3(
        encoder,
        settings.pcm3,
        max_persons=settings.data.max_persons,
        num_joints=layout.num_joints,
        channels=CHANNELS,
        dimensions=dimensions,
        parts=body_parts(layout),
        parents=torch.as_tensor(parents, device="cpu"),
    )
