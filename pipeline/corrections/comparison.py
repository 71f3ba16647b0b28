"""Comparison of a retrained recognizer with the one that it started from, on the same clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pose_extraction.engines.engine import Engine
    from recognition.data.clips import ClipSet
    from recognition.runs import Trained

# Clips with another answer that are listed.
MOST_LISTED = 200


@dataclass(frozen=True)
class Shares:
    """Accuracies of one recognizer; None without clips.

    Args:
        top1: Share of the clips that it classifies correctly.
        mean_class: Mean of this share over the classes that have clips.
    """

    top1: float | None
    mean_class: float | None


@dataclass(frozen=True)
class Part:
    """Both recognizers on one part of the clips.

    Args:
        names: Ids of the clips.
        labels: Their labels.
        old: Answers of the earlier recognizer; None for a clip in which nobody is visible.
        new: Answers of the retrained one.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    old: tuple[str | None, ...]
    new: tuple[str | None, ...]

    def as_dictionary(self) -> dict[str, Any]:
        """Return the number of clips, and the accuracies of both."""
        shares = {"old": shares_of(self.labels, self.old), "new": shares_of(self.labels, self.new)}
        measured = {name: {"top1": one.top1, "mean_class": one.mean_class} for name, one in shares.items()}
        return {"clips": len(self.names), **measured}

    def changed(self) -> list[dict[str, str | None]]:
        """Return the clips whose answers differ."""
        rows = zip(self.names, self.labels, self.old, self.new, strict=True)
        return [{"clip": name, "label": label, "old": old, "new": new} for name, label, old, new in rows if old != new]


@dataclass(frozen=True)
class Comparison:
    """A retrained recognizer and the one that it started from.

    Args:
        held_out: The clips that neither was trained on. They select the best epoch of the retrained one.
        corrections: The corrected segments that the retrained one was trained on.
        notes: What limits the comparison, one sentence each.
    """

    held_out: Part
    corrections: Part
    notes: tuple[str, ...] = ()

    def as_dictionary(self) -> dict[str, Any]:
        """Return the comparison for JSON output: the held-out part, `changed` clips, and `corrections`."""
        changed = [*self.held_out.changed(), *self.corrections.changed()][:MOST_LISTED]
        return {
            **self.held_out.as_dictionary(),
            "changed": changed,
            "corrections": self.corrections.as_dictionary(),
            "notes": list(self.notes),
        }


def shares_of(labels: Sequence[str], answers: Sequence[str | None]) -> Shares:
    """Return the accuracies of answers to clips with these labels."""
    if not labels:
        return Shares(None, None)
    hits = np.array([label == answer for label, answer in zip(labels, answers, strict=True)])
    names = np.array(labels)
    return Shares(float(hits.mean()), float(np.mean([hits[names == name].mean() for name in sorted(set(labels))])))


def compare(
    old: "Trained", new: "Trained", clips: "ClipSet", indices: Sequence[int] | np.ndarray, engine: "Engine"
) -> Part:
    """Classify clips with both recognizers.

    Args:
        old: The earlier recognizer, which may lack classes.
        new: The retrained one.
        clips: The skeleton file, opened with `clips_for`.
        indices: int (N,), labelled clips.
        engine: Where the networks run.

    Raises:
        BackendError: The networks cannot run like this on this machine.
    """
    # Loads torch.
    from recognition.inference.prediction import predict_clips

    chosen = np.asarray(indices, np.int64)
    answers = []
    for trained in (old, new):
        found = predict_clips(trained, clips, chosen, count=1, engine=engine) if len(chosen) else []
        answers.append(tuple(one.best[0][0] if one.best else None for one in found))
    return Part(
        tuple(clips.names[index] for index in chosen),
        tuple(clips.label_names[clips.labels[index]] for index in chosen),
        *answers,
    )
