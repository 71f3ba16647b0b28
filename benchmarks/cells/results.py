"""Results of the bench: a line of JSON for each cell and condition, appended as soon as it is measured."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pose_extraction.errors import UsageError

# No answer, because no person is visible.
UNANSWERED = -1


@dataclass(frozen=True)
class Key:
    """What a result was measured with.

    Args:
        data: Title of the data set, NAME or NAME/ESTIMATOR.
        method: Name of the method.
        count: Training clips per class; None for all.
        seed: Seed of the draw of clips and of the training.
        fold: Name of the fold.
        condition: Name of the condition of the test clips.
        left_out: Class that was left out of the training, to measure "unknown"; None for none.
    """

    data: str
    method: str
    count: int | None
    seed: int
    fold: str
    condition: str = "clean"
    left_out: str | None = None


@dataclass(frozen=True)
class Result:
    """Answers of a method for the test clips of one fold.

    Args:
        key: What they were measured with.
        clips: Digest of the ids of the training and the test clips.
        labels: True classes of N test clips.
        predicted: Predicted classes; `UNANSWERED` for clips that show no person.
        confidence: Probability of the predicted class, NaN for those.
        unknown: How likely each clip shows none of the classes, on the method's own scale; NaN for those.
        trained_on: Number of training clips.
        seconds: Duration of the training.
        cpu_seconds: Processor time of the training, over all threads.
        megabytes: Peak memory of the process during the training.
        facts: What the method chose, such as its number of epochs.
        unseen: Number of the class `key.left_out`; None if none was left out, and in results of earlier versions.
    """

    key: Key
    clips: str
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    unknown: np.ndarray
    trained_on: int
    seconds: float
    cpu_seconds: float
    megabytes: float
    facts: dict[str, Any] = field(default_factory=dict)
    unseen: int | None = None

    @property
    def right(self) -> np.ndarray:
        """bool (N,), whether each answer is correct."""
        return self.predicted == self.labels


def digest_of(train: Sequence[str], test: Sequence[str]) -> str:
    """Return a short digest of the ids of training and test clips."""
    return hashlib.sha256(json.dumps([list(train), list(test)]).encode()).hexdigest()[:12]


def append(path: Path, result: Result) -> None:
    """Append a result."""
    line = asdict(result.key) | {
        "clips": result.clips,
        "labels": result.labels.tolist(),
        "predicted": result.predicted.tolist(),
        "confidence": _rounded(result.confidence),
        "unknown": _rounded(result.unknown),
        "trained_on": result.trained_on,
        "seconds": round(result.seconds, 2),
        "cpu_seconds": round(result.cpu_seconds, 2),
        "megabytes": round(result.megabytes),
        "facts": result.facts,
        "unseen": result.unseen,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    # A line that was cut off by a kill must not swallow this one.
    broken = path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if broken else "") + json.dumps(line) + "\n")


def read(paths: Sequence[Path]) -> dict[Key, Result]:
    """Read results; of several with the same key, the last counts. Lines that were cut off are skipped."""
    found = {}
    for path in paths:
        if not path.is_file():
            continue
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            key = Key(**{name: line.pop(name) for name in Key.__dataclass_fields__})
            for name in ("labels", "predicted"):
                line[name] = np.array(line[name], np.int64)
            for name in ("confidence", "unknown"):
                line[name] = np.array(line[name], np.float64)
            found[key] = Result(key, **{"cpu_seconds": float("nan")} | line)
    return found


def read_existing(paths: Sequence[Path]) -> dict[Key, Result]:
    """Read results as `read` does, from files that must exist and have some.

    Raises:
        UsageError: A file does not exist, or has no complete result.
    """
    found: dict[Key, Result] = {}
    for path in paths:
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file; `real_sets.py measure --out {path}` writes it")
        own = read([path])
        if not own:
            raise UsageError(f"{path}: has no results; `real_sets.py measure --out {path}` adds some")
        found |= own
    return found


def with_instead(results: Mapping[Key, Result], words: Sequence[str]) -> dict[Key, Result]:
    """Let methods take the place of others on single data sets, in which these would be at a disadvantage.

    Args:
        results: The results.
        words: DATA:METHOD=OTHER each: on the data set DATA, the results of OTHER are those of METHOD.

    Raises:
        UsageError: A word is not of this form, or the data set has no results of OTHER.
    """
    replacements: dict[tuple[str, str], dict[Key, Result]] = {}
    moved: set[tuple[str, str]] = set()
    for word in words:
        data, _, names = word.partition(":")
        method, _, other = names.partition("=")
        if not (data and method and other):
            raise UsageError(f"--instead {word}: write DATA:METHOD=OTHER, such as motions5:svm=svm_unmirrored")
        own = {key: result for key, result in results.items() if (key.data, key.method) == (data, other)}
        if not own:
            raise UsageError(f"--instead {word}: there are no results of {other} on {data}")
        named = {key: replace(key, method=method) for key in own}
        replacements[data, method] = {named[key]: replace(result, key=named[key]) for key, result in own.items()}
        moved |= {(data, method), (data, other)}
    # All at once, so that two methods can change places.
    found = {key: result for key, result in results.items() if (key.data, key.method) not in moved}
    for replacement in replacements.values():
        found |= replacement
    return found


def _rounded(values: np.ndarray) -> list[float | None]:
    """Return values with six digits; None for NaN, which JSON does not have."""
    return [None if np.isnan(value) else round(float(value), 6) for value in values]
