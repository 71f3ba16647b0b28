"""Settings of a pre-training, as in configs, on the command line and in run directories.

The defaults of `mamp` and `pcm3` are those of the papers or, if a paper omits a value or its results used another one,
those of the published code.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from recognition.settings import Auto, DataSettings, ModelSettings, Strict

Positive = Literal["intra", "inter", "mask", "predict"]
Stream = Literal["joint", "bone", "motion"]
Bones = Literal["published", "layout"]


class MAMPSettings(Strict):
    """Section 3 of the MAMP paper; `model` describes the encoder."""

    target: Literal["motion", "joint"] = Field("motion", description="what is predicted; joint: as in SkeletonMAE")
    input: Literal["joint", "motion"] = Field("joint", description="input of the encoder (table 7)")
    masking: Literal["motion", "random"] = Field("motion", description="hidden tokens; motion: chosen by M' of eq. 4")
    ratio: float = Field(0.9, ge=0, lt=1, description="share of hidden tokens")
    temperature: float = Field(0.8, gt=0, description="tau of eq. 5, relative to the sequence's largest intensity")
    motion_stride: int = Field(1, ge=1, description="m of the target, in frames")
    normalise: bool = Field(True, description="standardise the target of each token")
    decoder_depth: int = Field(5, ge=1, description="L_d")
    decoder_dim: int | None = Field(None, ge=8, description="width of the decoder; default: that of the encoder")


class PCM3Settings(Strict):
    """Section 3 of the PCM3 paper, and its encoder."""

    stream: Stream = "joint"
    bones: Bones = Field(
        "published",
        description="bones of NTU's hands: published: from hand to thumb to tip, as in 2s-AGCN; layout: the thumb "
        "from the wrist, the tip from the hand",
    )
    hidden: int = Field(1024, ge=1, description="width of the encoder's GRUs, per direction")
    layers: int = Field(3, ge=1)
    embedding: int = Field(128, ge=1, description="width of the contrasted embeddings")
    decoder_hidden: int = Field(512, ge=1)
    queue: int = Field(16384, ge=1, description="number of keys in the queue")
    momentum: float = Field(0.999, ge=0, lt=1, description="momentum of the key encoder")
    temperature: float = Field(0.07, gt=0, description="tau of eq. 1")
    key_temperature: float = Field(0.05, gt=0, description="tau_k of eq. 3")
    query_temperature: float = Field(0.1, gt=0, description="tau_q of eq. 3")
    positives: tuple[Positive, ...] = Field(
        ("intra", "inter", "mask", "predict"), description="pairs of eq. 5; empty: masked prediction only"
    )
    distillation: float = Field(1.0, ge=0, description="lambda_kl")
    prediction: float = Field(40.0, ge=0, description="lambda_m; 0: contrast only")
    guidance: bool = Field(True, description="whether gradients of the predicted view's contrast reach the decoder")
    masking: Literal["topology", "random"] = "topology"
    ratio: float = Field(0.6, gt=0, lt=1, description="share of masked body parts, or of masked joints")
    mask_frames: int = Field(8, ge=1, description="number of consecutive frames with the same masked parts")
    domain_prompts: bool = True
    domain_prompt_place: Literal["published", "normalised"] = Field(
        "published",
        description="where domain prompts are added: published: to the input of the encoder, whose batch normalisation "
        "removes them, so that they have no effect and no gradient; normalised: after the batch normalisation",
    )
    task_prompts: bool = True
    prompt_start: Literal["xavier", "zeros"] = Field(
        "xavier", description="initial prompts: Xavier uniform, as published, or zeros"
    )
    prompt_size: int = Field(128, ge=1, description="r, channels of a task prompt per direction")

    @field_validator("positives")
    @classmethod
    def _once(cls, value: tuple[Positive, ...]) -> tuple[Positive, ...]:
        if len(set(value)) != len(value):
            raise ValueError("must not name a pair twice")
        return value


class PretrainingLoop(Strict):
    """Settings of the training loop; the defaults are MAMP's."""

    epochs: int = Field(400, ge=1)
    batch_size: int = Field(128, ge=1, description="clips per step, over all processes")
    accumulate: int = Field(1, ge=1, description="micro-batches per step")
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    lr_end: float = Field(5e-4, ge=0, description="final learning rate of the cosine schedule")
    schedule: Literal["cosine", "step"] = "cosine"
    lr_steps: tuple[Annotated[int, Field(ge=1)], ...] = Field((), description="epochs that divide the rate by ten")
    warmup_epochs: int = Field(20, ge=0)
    weight_decay: float = Field(0.05, ge=0, description="adamw: of matrices only; sgd: of all weights")
    betas: tuple[float, float] = Field((0.9, 0.95), description="betas of AdamW")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    clip_gradient: float | None = Field(None, gt=0, description="largest norm of the gradient")
    seed: int = Field(0, ge=0)
    device: str = "auto"
    devices: Annotated[int, Field(ge=1)] | Auto = "auto"
    nodes: int = Field(1, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    checkpoint_minutes: float = Field(10.0, gt=0, description="minutes between checkpoints within an epoch")
    keep_epochs: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="epochs after which the encoder is also saved as epochN.safetensors, for later comparison"
    )


class PretrainSettings(Strict):
    """All settings of `skelpipe pretrain`."""

    out: str = Field("auto", description="run directory; auto: runs/ with the names of data and method")
    method: Literal["mamp", "pcm3"] = "mamp"
    data: DataSettings = DataSettings()
    model: ModelSettings = Field(ModelSettings(backbone="segments"), description="MAMP's encoder")
    mamp: MAMPSettings = MAMPSettings()
    pcm3: PCM3Settings = PCM3Settings()
    training: PretrainingLoop = PretrainingLoop()

    @property
    def shown(self) -> Stream:
        """The stream that the encoder receives."""
        return self.pcm3.stream if self.method == "pcm3" else self.mamp.input
