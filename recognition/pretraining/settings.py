"""Settings of a pre-training, as they stand in a config, on the command line and in a run directory.

The defaults of `mamp` and `pcm3` are the papers'; where a paper is silent, or its own numbers come from other values,
those of the published code.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from recognition.settings import Auto, DataSettings, ModelSettings, Strict

Positive = Literal["intra", "inter", "mask", "predict"]
Stream = Literal["joint", "bone", "motion"]


class MAMPSettings(Strict):
    """Section 3 of the MAMP paper; `model` describes the encoder."""

    target: Literal["motion", "joint"] = Field("motion", description="joint: what SkeletonMAE predicts")
    input: Literal["joint", "motion"] = Field("joint", description="what the encoder sees (table 7)")
    masking: Literal["motion", "random"] = Field("motion", description="motion: M' of eq. 4 says what is hidden")
    ratio: float = Field(0.9, ge=0, lt=1, description="share of the tokens that is hidden")
    temperature: float = Field(0.8, gt=0, description="tau of eq. 5, over the largest intensity of the sequence")
    motion_stride: int = Field(1, ge=1, description="m of the target")
    normalise: bool = Field(True, description="each token's target less its mean, over its deviation")
    decoder_depth: int = Field(5, ge=1, description="L_d")
    decoder_dim: int | None = Field(None, ge=8, description="width of the decoder; as the encoder where not given")


class PCM3Settings(Strict):
    """Section 3 of the PCM3 paper, and its encoder."""

    stream: Stream = "joint"
    hidden: int = Field(1024, ge=1, description="width of the encoder's GRUs, each direction")
    layers: int = Field(3, ge=1)
    embedding: int = Field(128, ge=1, description="width of what is contrasted")
    decoder_hidden: int = Field(512, ge=1)
    queue: int = Field(16384, ge=1, description="keys that are remembered")
    momentum: float = Field(0.999, ge=0, lt=1, description="of the key encoder")
    temperature: float = Field(0.07, gt=0, description="tau of eq. 1")
    key_temperature: float = Field(0.05, gt=0, description="tau_k of eq. 3")
    query_temperature: float = Field(0.1, gt=0, description="tau_q of eq. 3")
    positives: tuple[Positive, ...] = Field(
        ("intra", "inter", "mask", "predict"), description="pairs of eq. 5; none: masked prediction alone"
    )
    distillation: float = Field(1.0, ge=0, description="lambda_kl")
    prediction: float = Field(40.0, ge=0, description="lambda_m; 0: contrast alone")
    guidance: bool = Field(True, description="whether gradients of the predicted view's contrast reach the decoder")
    masking: Literal["topology", "random"] = "topology"
    ratio: float = Field(0.6, gt=0, lt=1, description="share of the body's parts, or of single joints, that is masked")
    mask_frames: int = Field(8, ge=1, description="frames in which the same parts are masked")
    domain_prompts: bool = True
    task_prompts: bool = True
    prompt_size: int = Field(128, ge=1, description="r, channels of a task prompt in each direction")

    @field_validator("positives")
    @classmethod
    def _once(cls, value: tuple[Positive, ...]) -> tuple[Positive, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names a pair twice")
        return value


class PretrainingLoop(Strict):
    """The loop; defaults are MAMP's."""

    epochs: int = Field(400, ge=1)
    batch_size: int = Field(128, ge=1, description="clips a step, over all processes")
    accumulate: int = Field(1, ge=1, description="micro-batches a step")
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    lr_end: float = Field(5e-4, ge=0, description="where the cosine ends")
    schedule: Literal["cosine", "step"] = "cosine"
    lr_steps: tuple[Annotated[int, Field(ge=1)], ...] = Field((), description="epochs after which the rate is a tenth")
    warmup_epochs: int = Field(20, ge=0)
    weight_decay: float = Field(0.05, ge=0, description="of matrices; with sgd, of all weights")
    betas: tuple[float, float] = Field((0.9, 0.95), description="of AdamW")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    clip_gradient: float | None = Field(None, gt=0, description="largest norm of a step's gradient")
    seed: int = Field(0, ge=0)
    device: str = "auto"
    devices: Annotated[int, Field(ge=1)] | Auto = "auto"
    nodes: int = Field(1, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    checkpoint_minutes: float = Field(10.0, gt=0, description="besides one at the end of each epoch")
    keep_epochs: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="epochs after which the encoder is kept as epochN.pt, to be measured beside the last one's"
    )


class PretrainSettings(Strict):
    """Everything that `skelpipe pretrain` can be told."""

    out: str = Field("auto", description="run directory; auto: runs/ and the name of the data and the method")
    method: Literal["mamp", "pcm3"] = "mamp"
    data: DataSettings = DataSettings()
    model: ModelSettings = Field(ModelSettings(backbone="segments"), description="MAMP's encoder")
    mamp: MAMPSettings = MAMPSettings()
    pcm3: PCM3Settings = PCM3Settings()
    training: PretrainingLoop = PretrainingLoop()

    @property
    def shown(self) -> Stream:
        """What the encoder sees of a skeleton."""
        return self.pcm3.stream if self.method == "pcm3" else self.mamp.input
