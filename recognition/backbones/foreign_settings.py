"""Model settings that have no effect with the chosen backbone."""

from collections.abc import Collection

from pose_extraction.errors import UsageError
from recognition.settings import ModelSettings

# Settings that only some backbones have, and the backbones that have them.
OWNERS = {
    "tuple_length": "sttformer",
    "attention": "dstformer",
    "segment_frames": "segments",
    "drop_path": "segments",
    "relative": "segments",
    "persons": "gru",
    "variant": "ctrgcn or msg3d",
    "motion": "dstformer, transformer or sttformer",
    "mlp_ratio": "dstformer or transformer",
}


def refuse_foreign(settings: ModelSettings, *, own: Collection[str] = (), besides: Collection[str] = ()) -> None:
    """Refuse settings that differ from their default but have no effect with the chosen backbone.

    Args:
        settings: Model settings of the run.
        own: Names in `OWNERS` that the backbone has.
        besides: Names of common settings that the backbone does not have.

    Raises:
        UsageError: At least one such setting is given.
    """
    for name in (*(name for name in OWNERS if name not in own), *besides):
        value = getattr(settings, name)
        if value != ModelSettings.model_fields[name].default:
            elsewhere = f", or set model.backbone={OWNERS[name]}" if name in OWNERS else ""
            raise UsageError(f"model.{name}={value} has no effect with {settings.backbone}: leave it out{elsewhere}")
