"""Settings of a model that the chosen backbone has no use for."""

from collections.abc import Collection

from pose_extraction.errors import UsageError
from recognition.settings import ModelSettings

# Settings that not all backbones have, and the backbones to which they say something.
OWNERS = {
    "tuple_length": "sttformer",
    "attention": "dstformer",
    "segment_frames": "segments",
    "drop_path": "segments",
    "persons": "gru",
    "motion": "dstformer, transformer or sttformer",
    "mlp_ratio": "dstformer or transformer",
}


def refuse_foreign(settings: ModelSettings, *, own: Collection[str] = (), besides: Collection[str] = ()) -> None:
    """Refuses settings that were given and say nothing to the chosen backbone.

    Args:
        settings: As they were given.
        own: Those of `OWNERS` that the backbone has.
        besides: What most others have, and it has not.

    Raises:
        UsageError: There is such a setting.
    """
    for name in (*(name for name in OWNERS if name not in own), *besides):
        value = getattr(settings, name)
        if value != ModelSettings.model_fields[name].default:
            elsewhere = f", or set model.backbone={OWNERS[name]}" if name in OWNERS else ""
            raise UsageError(f"model.{name}={value} says nothing to {settings.backbone}: leave it out{elsewhere}")
