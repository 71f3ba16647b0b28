"""`skelpipe evaluate --protocol` with settings that take a second or less."""

import json
from pathlib import Path
from typing import Any

from test_support.networks.made_encoders import skelpipe

ON = ("--device", "cpu", "--precision", "fp32", "--json")
SHORT = ("finetune.epochs=1", "finetune.hidden=8", "finetune.warmup_epochs=0", "finetune.lr_steps=[]")
LONG = (
    *("finetune.batch_size=8", "detection.stride=16", "detection.fewest=1", "motion.seen=12", "motion.predicted=3"),
    *("motion.steps=2", "motion.hidden=8", "motion.batch_size=4"),
)


def sets(*words: str) -> list[str]:
    """Return settings as options of the command."""
    return [word for pair in words for word in ("--set", pair)]


def measured(run: Path, protocol: str, *words: object) -> dict[str, Any]:
    """Return the results of a measurement."""
    result = skelpipe("evaluate", run, "--protocol", protocol, *words, *ON)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(run: Path, protocol: str, *words: object) -> str:
    """Return the message of a measurement that fails."""
    result = skelpipe("evaluate", run, "--protocol", protocol, *words, "--device", "cpu")
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), result.output
    return " ".join(result.stderr.split())
