"""Protocols by name, with their settings and the engine that runs them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.config import changed, override, parse
from pose_extraction.engines.engine import PRECISIONS, Engine, resolve_training_engine
from pose_extraction.errors import UsageError
from recognition.protocols.settings import ProtocolSettings, published

PROTOCOLS = ("linear", "finetune", "semi", "transfer", "knn", "occlusion", "detection", "motion")


@dataclass(frozen=True)
class Protocol:
    """Protocol of an evaluation.

    Args:
        word: Protocol as named on the command line, such as `linear`, `semi:10%` or `occlusion:spatial`.
        name: One of `PROTOCOLS`.
        share: Share of the training labels that are known, in (0, 1].
        kind: Kind of occlusion; None for protocols without occlusion.
    """

    word: str
    name: str
    share: float = 1.0
    kind: Literal["spatial", "temporal"] | None = None


def parse_protocol(word: str) -> Protocol:
    """Parse the name of a protocol.

    Raises:
        UsageError: The name or its option is unknown.
    """
    name, _, rest = word.partition(":")
    if name not in PROTOCOLS:
        raise UsageError(f"unknown protocol {word!r}; choose one of {', '.join(PROTOCOLS)}")
    if name == "semi":
        found = re.fullmatch(r"(\d+(?:\.\d+)?)%", rest or "10%")
        share = float(found[1]) / 100 if found else 0.0
        if not 0 < share <= 1:
            raise UsageError(f"--protocol {word}: specify the share of known labels, such as semi:10%")
        return Protocol(word, name, share=share)
    if name == "occlusion":
        if rest not in ("", "spatial", "temporal"):
            raise UsageError(f"--protocol {word}: use occlusion:spatial or occlusion:temporal")
        return Protocol(word, name, kind="temporal" if rest == "temporal" else "spatial")
    if rest:
        raise UsageError(f"--protocol {word}: {name} takes no option; remove {rest!r}")
    return Protocol(word, name)


def protocol_settings(method: str, pairs: Sequence[str]) -> ProtocolSettings:
    """Return the published recipes of a method, with changes from the command line.

    Args:
        method: Name of the pre-training method.
        pairs: `key=value` settings that override the recipe.

    Raises:
        UsageError: A setting is unknown or invalid.
    """
    values = override(published(method), {}, ProtocolSettings)
    return parse(changed(values, pairs, {}, ProtocolSettings), ProtocolSettings, place="--set")


def engine_for_protocols(device: str, precision: str) -> Engine:
    """Resolve device and precision.

    Args:
        device: auto, cpu or a single CUDA device.
        precision: auto, fp32 or bf16.

    Raises:
        UsageError: There are several devices, or the precision is unknown or does not support training.
        BackendError: The device is not available.
    """
    known = [name for name in PRECISIONS if name != "fp16"]
    if precision not in known:
        raise UsageError(f"--precision {precision}: with --protocol, use one of {', '.join(known)}")
    engine = resolve_training_engine(device, precision)
    if "," in engine.device:
        raise UsageError(f"--device {device}: protocols run on a single device; choose one of them")
    return engine
