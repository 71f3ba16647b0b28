"""How an encoder is measured on what it was not pre-trained for; the defaults are each method's published recipes."""

from typing import Annotated, Any, Literal

from pydantic import Field

from recognition.settings import Strict


class LinearSettings(Strict):
    """A linear classifier on the features of a fixed encoder."""

    epochs: int = Field(100, ge=1)
    views: int = Field(
        5, ge=1, description="times that the training clips are drawn and encoded; epochs take turns with them"
    )
    batch_size: int = Field(256, ge=2)
    lr: float = Field(0.1, gt=0)
    schedule: Literal["cosine", "step"] = "cosine"
    lr_steps: tuple[Annotated[int, Field(ge=1)], ...] = Field((), description="epochs after which the rate is a tenth")
    normalise: bool = Field(True, description="features by the batch's mean and deviation before the classifier")


class FinetuneSettings(Strict):
    """Encoder and classifier trained together."""

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(48, ge=2)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(3e-4, gt=0)
    lr_end: float = Field(1e-5, ge=0)
    schedule: Literal["cosine", "step"] = "cosine"
    lr_steps: tuple[Annotated[int, Field(ge=1)], ...] = ()
    warmup_epochs: int = Field(5, ge=0)
    weight_decay: float = Field(0.05, ge=0)
    layer_decay: float = Field(
        0.8, gt=0, le=1, description="rate of a layer over that of the next; 1 from scratch, as published"
    )
    drop_path: float = Field(0.3, ge=0, lt=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    hidden: int = Field(2048, ge=1, description="width of the head's hidden layer, after MAMP's encoder")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    normalise: bool = Field(
        False, description="after PCM3's encoder, features by the batch's mean and deviation before the linear layer"
    )


class DetectionSettings(Strict):
    """Actions found in long sequences by a classifier of frames, which is trained as `finetune` says."""

    stride: int = Field(32, ge=1, description="frames between the windows that a test sequence is cut into")
    smooth: int = Field(15, ge=1, description="frames over which scores are averaged")
    fewest: int = Field(10, ge=1, description="frames of the shortest action")
    overlap: float = Field(0.5, gt=0, le=1, description="tIoU from which a proposal is right")


class MotionSettings(Strict):
    """Motion prediction by the decoder of Martinez et al., short-term."""

    seen: int = Field(50, ge=2, description="frames that are given")
    predicted: int = Field(10, ge=1, description="frames that are to be told")
    hidden: int = Field(1024, ge=1)
    steps: int = Field(100_000, ge=1)
    batch_size: int = Field(16, ge=1)
    lr: float = Field(0.005, gt=0)
    lr_decay: float = Field(0.95, gt=0, le=1)
    decay_steps: int = Field(10_000, ge=1)
    clip_gradient: float = Field(5.0, gt=0)


class ProtocolSettings(Strict):
    """Everything that `skelpipe evaluate --protocol` can be told with `--set`."""

    seed: int = Field(0, ge=0)
    runs: int = Field(5, ge=1, description="seeded subsets of the semi-supervised protocol")
    parts: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = Field(
        (0.5, 1.0), description="shares of a clip, from and to, that classifiers are shown in training"
    )
    part_test: float | None = Field(
        None, gt=0, le=1, description="share that they are shown in tests, from the middle; as pre-trained if not given"
    )
    occluded_training: bool = Field(True, description="whether the classifier of occluded clips trains on such, too")
    linear: LinearSettings = LinearSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    detection: DetectionSettings = DetectionSettings()
    motion: MotionSettings = MotionSettings()


def published(method: str) -> dict[str, Any]:
    """A method's recipes, as values for `ProtocolSettings`; what a paper does not say is its code's, or CMD's."""
    if method == "mamp":
        return {}
    supervised = {
        "optimizer": "sgd",
        "lr": 0.01,
        "batch_size": 64,
        "epochs": 80,
        "schedule": "step",
        "lr_steps": (50, 70),
        "warmup_epochs": 0,
        "weight_decay": 0.0,
        "layer_decay": 1.0,
        "drop_path": 0.0,
        "dropout": 0.0,
        "label_smoothing": 0.0,
    }
    return {
        "linear": {"batch_size": 1024, "schedule": "step", "lr_steps": (20, 50, 80), "normalise": False},
        "finetune": supervised,
    }
