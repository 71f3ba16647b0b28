"""Settings of a recognizer and of its training, as used in configs, on the command line and in run directories.

They are stored with every result and suffice to build the same network again. The defaults are those of the paper, or,
where the paper does not specify a value, those of MotionBERT's fine-tuning recipe, on which MaskCLR is based.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Auto = Literal["auto"]
AUTO: Auto = "auto"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSettings(Strict):
    """Data to read, and its processing up to the input of the network."""

    file: str = Field("auto", description="skeleton file or .parquet folder; auto: the newest in skeletons/")
    keypoint_files: str | None = Field(None, description="folder of Kinetics-400's separate keypoint files")
    train_split: str = Field("auto", description="training split; auto: the file's only split whose name ends in train")
    holdout_split: str | None = Field(None, description="split to choose the best epoch on; never the test split")
    holdout: Annotated[float, Field(ge=0, lt=1)] | Auto = Field(
        0.1,
        description="share of train_split held out to choose the best epoch; auto: a tenth, but nothing of fewer than "
        "200 clips, which are too few to choose by and needed for training",
    )
    group_pattern: str | None = Field(
        None, description="regular expression; its first group, found in frame_dir, is the clip's group (e.g. a person)"
    )
    layout: str = Field("auto", description="joint layout of the file; auto: derived from the number of joints")
    model_layout: str = Field("auto", description="joint layout of the network; h36m17 converts from COCO-17")
    max_persons: int = Field(2, ge=1)
    num_frames: Annotated[int, Field(ge=1)] | Literal["own"] = Field(
        243, description="frames per clip; own: the clip's own number of frames"
    )
    max_frames: int = Field(243, ge=1, description="with num_frames=own, longer clips are reduced to this length")
    frame_rate: float | None = Field(
        None,
        gt=0,
        description="frames per second that clips are resampled to, so that speeds do not depend on the video; longer "
        "clips than max_frames are cut, at random in training; null: the frames of the file, spread over the clip",
    )
    score_threshold: float = Field(0.0, ge=0, le=1, description="a joint counts as seen if its score is above this")
    scores: Literal["given", "seen"] = Field(
        "given",
        description="third input channel in 2D: given: the joint's score; seen: 1 for every joint that was seen, so "
        "that results do not depend on an estimator's scores",
    )
    descriptors: bool | Auto = Field(
        False,
        description="also describe the movement of each clip by fixed numbers, and train a kernel classifier on them, "
        "whose probabilities are averaged with those of the network; auto: for coco17 in 2D, which it requires",
    )
    cut_off: bool = Field(
        False,
        description="also describe copies of the training clips in which legs or hips are outside the picture, for "
        "people who are cut off by its edge",
    )
    legacy: bool = Field(False, description="read clips exactly as the published code does")
    random_move: bool = True
    move_nodes: int = Field(
        2, ge=2, description="number of times in a clip at which rotation, scale and shift of random_move are drawn"
    )
    move_translation: float = Field(
        0.1, ge=0, description="largest shift of random_move, in units of half the frame's longer side"
    )
    part_range_train: tuple[float, float] = Field(
        (1.0, 1.0), description="range of the length of the contiguous part used for training, as a share of the clip"
    )
    part_min_frames: int = Field(1, ge=1, description="minimum length of such a part, if the clip is long enough")
    part_test: float = Field(1.0, gt=0, le=1, description="share of a clip, from its middle, that is used for testing")
    resample: Literal["nearest", "linear"] = Field(
        "nearest", description="how num_frames are computed from a clip: choose frames, or interpolate between them"
    )
    placement: Literal["box", "frame", "raw", "first_frame", "aligned", "upright"] = Field(
        "box",
        description="normalisation of positions: box: a square around the clip's bounding box; frame: the frame, with "
        "sides [-1, 1]; in 3D and the file's unit: raw: none; first_frame: relative to the first person's spine in the "
        "first frame (MAMP); aligned: the same in every frame, rotated upright and to one facing direction (2s-AGCN); "
        "upright: the same, but facing the other way and without tilting oblique shoulders",
    )
    shear: float = Field(0.0, ge=0, lt=1, description="largest random shear of training clips; imitates other views")
    rotation: float = Field(0.0, ge=0, description="largest random rotation of 3D training clips, in radians per axis")
    scale_range_train: tuple[float, float] = (1.0, 3.0)
    scale_range_test: tuple[float, float] = (2.0, 2.0)
    flip: Annotated[float, Field(ge=0, le=1)] | Auto = Field(
        0.0,
        description="probability of mirroring; auto: 0.5 if left and right joints of the layout are known, else 0; "
        "with data.descriptors, also 0 if left-out clips are recognised better without mirror images",
    )
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    skip_bad: bool = False
    workers: Annotated[int, Field(ge=0)] | Auto = "auto"

    @field_validator("scale_range_train", "scale_range_test")
    @classmethod
    def _range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("must be two numbers above 0 in ascending order")
        return value

    @field_validator("part_range_train")
    @classmethod
    def _shares(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1] <= 1:
            raise ValueError("must be two shares in (0, 1] in ascending order")
        return value


# Settings that `size` determines. The others keep the values of a config if the command line names another size.
SIZES = ("dim", "depth", "heads", "mlp_ratio", "dim_representation", "hidden", "motion")


class ModelSettings(Strict):
    """A backbone and its head; explicit values take precedence over those implied by `size`."""

    size: Literal["paper", "small"] | Auto = Field(
        "paper",
        description="sizes that are not set explicitly: those of the backbone's paper, or small ones; auto: those of "
        "the initial weights, otherwise by the number of clips and the machine",
    )
    backbone: Literal[
        "dstformer", "transformer", "sttformer", "segments", "gru", "stgcnpp", "aagcn", "ctrgcn", "msg3d", "poseconv3d"
    ] = "dstformer"
    variant: Literal["authors", "pyskl"] = Field(
        "authors", description="CTR-GCN and MS-G3D: as published by their authors, or as in PYSKL"
    )
    dim: int | None = Field(None, ge=8, description="C_f, width of the backbone")
    depth: int | None = Field(None, ge=1, description="N, number of blocks")
    heads: int | None = Field(None, ge=1, description="h")
    mlp_ratio: float | None = Field(None, gt=0, description="width of the feed-forward network divided by C_f")
    dim_representation: int | None = Field(None, ge=8, description="C_r")
    tuple_length: int | None = Field(None, ge=1, description="STTFormer's l, frames per tuple")
    segment_frames: int | None = Field(None, ge=1, description="MAMP's l, frames per segment (backbone segments)")
    drop_path: float = Field(0.0, ge=0, lt=1, description="stochastic depth rate of the last block (segments)")
    persons: int | None = Field(None, ge=1, description="person slots per frame of PCM3's encoder (gru)")
    max_frames: int = Field(243, ge=1, description="length of the temporal embedding")
    attention: Literal["spatial", "average", "spatiotemporal"] = Field(
        "spatial", description="DSTFormer: maps of the last block that A is computed from"
    )
    relative: bool | Auto = Field(
        False,
        description="whether the input also contains each joint's position relative to the hips and to its parent, and "
        "its displacement since the previous frame; not in the papers; auto: for coco17 in 2D (segments)",
    )
    motion: bool = Field(
        False,
        description="whether the input also contains the displacement of each joint since the previous frame; not in "
        "the paper. Enabled by model.size=small",
    )
    unseen: Literal["mask_token", "embed"] | Auto = Field(
        "auto",
        description="replacement of joints that were not seen: the mask token, or the embedding of (0, 0, 0); auto: "
        "as in the training of the initial weights, otherwise the mask token",
    )
    hidden: int = Field(2048, ge=8, description="hidden width of the head")
    dropout: float = Field(0.5, ge=0, lt=1)


class MaskCLRSettings(Strict):
    """Section 3 of the MaskCLR paper."""

    mask: Literal["attention", "random"] = "attention"
    ratio: float = Field(0.7, ge=0, le=1, description="delta, share of valid cells to mask")
    mask_temperature: float = Field(0.7, gt=0, description="tau_prop")
    attention_scale: Literal["none", "frame_max", "seq_max"] = "none"
    jitter: float = Field(
        0.0,
        ge=0,
        description="largest standard deviation of noise on the joints of the masked pathway, in units of its input; "
        "not in the paper",
    )
    representation: Literal["joints", "mean", "hidden"] = Field(
        "joints", description="R^i: joints flattened (V * C_r), their mean (C_r), or the head's hidden layer"
    )
    similarity_temperature: float = Field(0.7, gt=0, description="tau_sim")
    alpha: float = Field(0.9, ge=0, description="weight of the sample contrastive loss")
    beta: float = Field(0.1, ge=0, description="weight of the class contrastive loss")
    momentum: float = Field(0.9, ge=0, le=1, description="gamma of the class prototypes")
    confidence: float = Field(0.0, ge=0, lt=1, description="probability above which a true positive is confident")


class TrainingSettings(Strict):
    """Settings of the training loop."""

    objective: Literal["maskclr", "cross_entropy"] = "maskclr"
    phase1_epochs: Annotated[int, Field(ge=0)] | Auto = Field(300, description="epochs with cross-entropy only")
    phase2_epochs: Annotated[int, Field(ge=0)] | Auto = Field(300, description="epochs with both pathways")
    batch_size: int = Field(32, ge=1, description="clips per step, over all processes")
    accumulate: int = Field(1, ge=1, description="micro-batches per step")
    backbone_lr: float | Auto = Field(1e-4, description="auto: 1e-4 at the paper's width, higher for narrower networks")
    head_lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="learning rate of a block relative to that of the next one (backbone segments)"
    )
    parameter_groups: Literal["plain", "mamp"] = Field(
        "plain",
        description="mamp: as in MAMP's fine-tuning: biases and normalisation have no weight decay, and the last "
        "normalisation has the learning rate of the head",
    )
    schedule: Literal["exponential", "cosine"] = "exponential"
    lr_decay: float = Field(0.99, gt=0, le=1, description="factor of the exponential schedule per epoch")
    cosine_end: float = Field(
        0.0, ge=0, lt=1, description="final learning rate of the cosine schedule, as a share of the initial one"
    )
    warmup_epochs: int = Field(0, ge=0)
    restart_lr_at_phase2: bool = False
    clip_gradient: float | None = Field(None, gt=0, description="largest norm of the gradient of a step")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    keep_descriptors: bool = Field(
        False,
        description="add the clips to the descriptors that the classifier of the initial run was fitted to, instead of "
        "replacing them, so that its classes are not forgotten; requires --init RUN",
    )
    early_stopping: int | None = Field(None, ge=1, description="epochs without improvement on the held-out part")
    seed: int = Field(0, ge=0)
    device: str = "auto"
    devices: Annotated[int, Field(ge=1)] | Auto = "auto"
    nodes: int = Field(1, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    checkpoint_minutes: float = Field(10.0, gt=0, description="interval of checkpoints within an epoch")

    @field_validator("backbone_lr")
    @classmethod
    def _positive(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and value <= 0:
            raise ValueError("must be auto or above 0")
        return value


class RunSettings(Strict):
    """All settings of `skelpipe train`."""

    out: str = Field("auto", description="run directory; auto: runs/ and the names of the data and the backbone")
    init: str | None = Field(
        None,
        description="initial weights: a run, a file of MotionBERT, or base, which the package contains; auto: base for "
        "the network that it fits, otherwise random weights",
    )
    data: DataSettings = DataSettings()
    model: ModelSettings = Field(ModelSettings(), description="a single word is the size: `model: auto`")
    maskclr: MaskCLRSettings = MaskCLRSettings()
    training: TrainingSettings = TrainingSettings()

    @field_validator("model", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        return {"size": value} if isinstance(value, str) else value
