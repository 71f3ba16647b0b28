"""Settings of a recognizer and of its training, as they stand in a config, on the command line and in a run directory.

They are stored beside every result, and are all that is needed to build the same network again. The defaults are the
paper's; where the paper is silent, those of MotionBERT's fine-tuning recipe, on which MaskCLR is built.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Auto = Literal["auto"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(Strict):
    """What is read, and what becomes of a clip on its way to the network."""

    file: str = Field("auto", description="skeleton pickle; auto: the newest merged file skeletons/*.pkl")
    keypoint_files: str | None = Field(None, description="folder of Kinetics-400's separate keypoint files")
    train_split: str = Field("auto", description="split to train on; auto: the file's only split named like *train")
    holdout_split: str | None = Field(None, description="split to choose the model on; never the one to report on")
    holdout: float = Field(0.1, ge=0, lt=1, description="share of train_split held out to choose the model on")
    group_pattern: str | None = Field(
        None, description="regular expression; its first group, found in frame_dir, is the clip's group (a person, say)"
    )
    layout: str = Field("auto", description="joint layout of the file; auto: by the number of joints")
    model_layout: str = Field("auto", description="layout that the network sees; h36m17 maps COCO-17 onto it")
    max_persons: int = Field(2, ge=1)
    num_frames: Annotated[int, Field(ge=1)] | Literal["own"] = Field(
        243, description="frames of every clip; own: as many as the clip has"
    )
    max_frames: int = Field(243, ge=1, description="longest clip that own lengths leave as it is")
    score_threshold: float = Field(0.0, ge=0, le=1, description="a joint is seen when its score is above this")
    scores: Literal["given", "seen"] = Field(
        "given",
        description="what the network is told of how sure a joint is, in 2D: its score; or 1 of each that is seen, so "
        "that another estimator's scores change nothing",
    )
    legacy: bool = Field(False, description="read as the published code does, step by step")
    random_move: bool = True
    move_nodes: int = Field(
        2, ge=2, description="times in a clip at which rotation, scale and shift of random_move are drawn"
    )
    move_translation: float = Field(
        0.1, ge=0, description="largest shift of random_move, in halves of the picture's longer side"
    )
    part_range_train: tuple[float, float] = Field(
        (1.0, 1.0), description="shares of a clip between which the length of the contiguous part to train on is drawn"
    )
    part_min_frames: int = Field(1, ge=1, description="frames that such a part has at least, where the clip has them")
    part_test: float = Field(1.0, gt=0, le=1, description="share of a clip, from its middle, that tests look at")
    resample: Literal["nearest", "linear"] = Field(
        "nearest", description="how num_frames are made of a clip's: by choosing frames, or between neighbouring ones"
    )
    placement: Literal["box", "frame", "first_frame", "aligned"] = Field(
        "box",
        description="where a person lies: in a square about the clip's box; in the frame, whose sides are [-1, 1]; or, "
        "in 3D and in the file's unit, from the first person's spine in its first frame (MAMP), or in every frame, "
        "upright and facing the same way (2s-AGCN)",
    )
    shear: float = Field(0.0, ge=0, lt=1, description="training clips are sheared by up to this, as other views would")
    rotation: float = Field(0.0, ge=0, description="training clips in 3D are turned by up to this, in radians an axis")
    scale_range_train: tuple[float, float] = (1.0, 3.0)
    scale_range_test: tuple[float, float] = (2.0, 2.0)
    flip: Annotated[float, Field(ge=0, le=1)] | Auto = Field(
        0.0, description="probability of a mirror image; auto: 0.5 where left and right of the layout are known, else 0"
    )
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    skip_bad: bool = False
    workers: Annotated[int, Field(ge=0)] | Auto = "auto"

    @field_validator("scale_range_train", "scale_range_test")
    @classmethod
    def _range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError("must be two numbers above 0, the smaller first")
        return value

    @field_validator("part_range_train")
    @classmethod
    def _shares(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1] <= 1:
            raise ValueError("must be two shares above 0 and up to 1, the smaller first")
        return value


# Settings of a model that a size stands for; the others stay as a config has them where a word names another size.
SIZES = ("dim", "depth", "heads", "mlp_ratio", "dim_representation", "hidden", "motion")


class ModelSettings(Strict):
    """A backbone and its head; what is given counts over what `size` stands for."""

    size: Literal["paper", "small"] | Auto = Field(
        "paper",
        description="sizes that are not given: the paper's of that backbone, or small ones; auto: those of the weights "
        "to start from, or by the number of clips and the machine",
    )
    backbone: Literal[
        "dstformer", "transformer", "sttformer", "segments", "gru", "stgcnpp", "aagcn", "ctrgcn", "msg3d", "poseconv3d"
    ] = "dstformer"
    dim: int | None = Field(None, ge=8, description="C_f, width of the backbone")
    depth: int | None = Field(None, ge=1, description="N, number of blocks")
    heads: int | None = Field(None, ge=1, description="h")
    mlp_ratio: float | None = Field(None, gt=0, description="width of the feed-forward network over C_f")
    dim_representation: int | None = Field(None, ge=8, description="C_r")
    tuple_length: int | None = Field(None, ge=1, description="STTFormer's l, frames of a tuple")
    segment_frames: int | None = Field(None, ge=1, description="MAMP's l, frames of a segment (backbone segments)")
    drop_path: float = Field(0.0, ge=0, lt=1, description="rate of stochastic depth at the last block (segments)")
    persons: int | None = Field(None, ge=1, description="places for persons in a frame of PCM3's encoder (gru)")
    max_frames: int = Field(243, ge=1, description="length of the temporal embedding")
    attention: Literal["spatial", "average", "spatiotemporal"] = Field(
        "spatial", description="DSTFormer: which maps of the last block A is taken from"
    )
    motion: bool = Field(
        False,
        description="whether the network is also told how far each joint moved since the frame before; not of the "
        "paper. model.size=small has it",
    )
    unseen: Literal["mask_token", "embed"] | Auto = Field(
        "auto",
        description="what a joint that was not seen becomes: the mask token, or the embedding of (0, 0, 0); auto: as "
        "the weights to start from were trained, otherwise the mask token",
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
        "not of the paper",
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
    """The loop."""

    objective: Literal["maskclr", "cross_entropy"] = "maskclr"
    phase1_epochs: Annotated[int, Field(ge=0)] | Auto = Field(300, description="epochs with cross-entropy alone")
    phase2_epochs: Annotated[int, Field(ge=0)] | Auto = Field(300, description="epochs with both pathways")
    batch_size: int = Field(32, ge=1, description="clips a step, over all processes")
    accumulate: int = Field(1, ge=1, description="micro-batches a step")
    backbone_lr: float | Auto = Field(1e-4, description="auto: 1e-4 at the paper's width, higher for narrower ones")
    head_lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="learning rate of a block over that of the next one (backbone segments)"
    )
    schedule: Literal["exponential", "cosine"] = "exponential"
    lr_decay: float = Field(0.99, gt=0, le=1, description="factor of the exponential schedule, once an epoch")
    warmup_epochs: int = Field(0, ge=0)
    restart_lr_at_phase2: bool = False
    clip_gradient: float | None = Field(None, gt=0, description="largest norm of a step's gradient")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    early_stopping: int | None = Field(None, ge=1, description="epochs without gain on the held-out part")
    seed: int = Field(0, ge=0)
    device: str = "auto"
    devices: Annotated[int, Field(ge=1)] | Auto = "auto"
    nodes: int = Field(1, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    checkpoint_minutes: float = Field(10.0, gt=0, description="besides one at the end of each epoch")

    @field_validator("backbone_lr")
    @classmethod
    def _positive(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and value <= 0:
            raise ValueError("must be auto or above 0")
        return value


class RunSettings(Strict):
    """Everything that `skelpipe train` can be told."""

    out: str = Field("auto", description="run directory; auto: runs/ and the name of the data and the backbone")
    init: str | None = Field(None, description="weights to start from: a run, or a file of MotionBERT's")
    data: DataSettings = DataSettings()
    model: ModelSettings = Field(ModelSettings(), description="a word alone is its size: `model: auto`")
    maskclr: MaskCLRSettings = MaskCLRSettings()
    training: TrainingSettings = TrainingSettings()

    @field_validator("model", mode="before")
    @classmethod
    def _size(cls, value: Any) -> Any:
        return {"size": value} if isinstance(value, str) else value
