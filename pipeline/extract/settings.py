"""Settings of `skelpipe extract`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.config import parse
from pipeline.extract import defaults
from pose_extraction.engines.engine import Backend, Precision
from pose_extraction.errors import UsageError
from pose_extraction.networks.names import detector_of, is_blazepose, score_threshold_of, searches_tiles
from recognition.data.extraction_settings import SHAPING

AtLeastOne = Annotated[int, Field(ge=1)]


class ExtractSettings(BaseModel):
    """Settings of `skelpipe extract`; `skelpipe extract --help` describes each one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    estimator: str = defaults.ESTIMATOR
    detector: str = defaults.DETECTOR
    checkpoint: str | None = None
    detector_checkpoint: str | None = None
    device: str = defaults.DEVICE
    backend: Backend = defaults.BACKEND
    precision: Precision = defaults.PRECISION
    batch_size: Literal["auto"] | AtLeastOne = defaults.BATCH_SIZE
    detect_every: Literal["auto"] | AtLeastOne = defaults.DETECT_EVERY
    detection_threshold: Literal["auto"] | Annotated[float, Field(gt=0, lt=1)] = defaults.DETECTION_THRESHOLD
    square_input: bool = defaults.SQUARE_INPUT
    flip_test: bool = defaults.FLIP_TEST
    tiles: Literal["auto", "always", "never"] = defaults.TILES
    builder: Literal["auto", "mmpose"] = defaults.BUILDER
    max_persons: int = Field(defaults.MAX_PERSONS, ge=1)
    persons: int | None = Field(None, ge=1)
    smooth: bool = defaults.SMOOTH
    stride: int = Field(defaults.STRIDE, ge=1)
    start: float | None = Field(None, ge=0)
    end: float | None = Field(None, gt=0)
    fps: float | None = Field(None, gt=0)
    stream: int | None = Field(None, ge=0)
    chunk: float | None = Field(defaults.CHUNK, gt=0)
    overlay: bool = defaults.OVERLAY
    decoder: Literal["cpu", "cuda"] = defaults.DECODER
    workers: Literal["auto"] | AtLeastOne = defaults.WORKERS

    @model_validator(mode="after")
    def _consistent(self) -> "ExtractSettings":
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError(f"end {self.end} s is not after start {self.start} s")
        return self

    @property
    def score_threshold(self) -> float:
        """Minimum score of a person box; the default of the detector unless `detection_threshold` is set."""
        if self.detection_threshold != "auto":
            return self.detection_threshold
        return score_threshold_of(detector_of(self.estimator, self.detector) or self.estimator)

    def shaping(self) -> dict[str, Any]:
        """The settings that affect the poses; the others affect only speed and output."""
        own = {name: getattr(self, name) for name in (*SHAPING, "start", "end", "fps", "stream")}
        if not is_blazepose(self.estimator) and not is_blazepose(self.detector):
            del own["tiles"]
        if self.decoder != "cpu":
            # Damaged videos may give other frames.
            own["decoder"] = self.decoder
        return own | {"detection_threshold": self.score_threshold}


def parse_settings(values: Mapping[str, Any], *, place: str | None) -> ExtractSettings:
    """Parses the settings of `skelpipe extract`; see `parse`.

    Raises:
        UsageError: As `parse`; or the estimator does not exist, or does not search the tiles that the settings demand.
    """
    settings = parse(values, ExtractSettings, place=place)
    # Not checked with each config, because options of the command line may change its networks.
    if settings.tiles != defaults.TILES and not searches_tiles(settings.estimator, settings.detector):
        finder = detector_of(settings.estimator, settings.detector) or settings.estimator
        name = "--tiles" if place is None else f"{place}: tiles"
        other = f"the detector {finder}" if is_blazepose(settings.estimator) else "use the estimator blazepose"
        raise UsageError(
            f"{name} {settings.tiles}: has no effect, because {finder} finds the persons, and only blazepose searches "
            f"tiles; omit it, or {other}"
        )
    return settings
