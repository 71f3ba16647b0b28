"""Which unknown score finds actions that were not trained on, and what temperature scaling does with few clips.

    python benchmarks/confidence.py skeletons.pkl [--limit 400] [--folds 8]

Three classifiers of simple descriptors stand in for recognizers, so that leaving out each action in turn takes minutes.
All clips are tested with a model that saw neither them nor, if the clips have groups, other clips of their group. One
table shows the calibration before and after temperature scaling (with a temperature from the other folds), the second
one the temperature's prior with few clips, the third one how well each score tells clips of an action that was left out
from clips of known ones (AUROC; mean and minimum over the actions).
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import log_softmax, softmax
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from pose_extraction.formats.validation import read_data_set
from recognition.confidence.feature_distance import fit_feature_distance
from recognition.confidence.temperature import fit_temperature
from recognition.confidence.unknown_scores import KINDS, spreads_of, unknown_score
from recognition.evaluation.calibration import calibration_of

TREES, HIDDEN = 200, 128
SPREADS = (0.25, 0.5, 1.0, math.inf)
COUNTS = (10, 20, 50, 100)
DRAWS = 50
PARTS = ("calibration", "prior", "unknown")


@dataclass(frozen=True)
class Clips:
    """Descriptors (N, D) of clips, their labels, and the fold in which each of them is tested."""

    descriptors: np.ndarray
    labels: np.ndarray
    folds: np.ndarray


@dataclass
class Outputs:
    """Outputs for N clips by models that were not trained on them: logits (N, K), and distances (N,) by feature."""

    logits: dict[str, np.ndarray]
    distances: dict[str, np.ndarray]


def describe(clip: dict[str, Any]) -> np.ndarray:
    """Return statistics of the main person's joints over time, relative to the hips, in lengths of the torso."""
    score = np.asarray(clip["keypoint_score"], np.float64)
    person = int((score > 0).sum(axis=(1, 2)).argmax())
    joints = np.asarray(clip["keypoint"], np.float64)[person]
    joints = np.where((score[person] > 0)[..., None], joints, np.nan)
    frames = np.arange(len(joints))
    for column in joints.reshape(len(joints), -1).T:
        seen = np.isfinite(column)
        if seen.any():
            column[:] = np.interp(frames, frames[seen], column[seen])
    joints = np.nan_to_num(joints)
    hips, shoulders = joints[:, 11:13].mean(axis=1), joints[:, 5:7].mean(axis=1)
    torso = max(float(np.median(np.linalg.norm(shoulders - hips, axis=1))), 1.0)
    pose, travel = (joints - hips[:, None]) / torso, np.diff(hips, axis=0) / torso
    steps = np.diff(pose, axis=0)
    parts = [
        pose.mean(axis=0),
        pose.std(axis=0),
        *np.quantile(pose, [0.1, 0.3, 0.5, 0.7, 0.9], axis=0),
        np.abs(steps).mean(axis=0),
        steps.std(axis=0),
        np.abs(travel).mean(axis=0),
        np.abs(travel.mean(axis=0)),
    ]
    return np.clip(np.concatenate([part.ravel() for part in parts]), -20, 20)


def read_clips(path: Path, limit: int | None, folds: int) -> Clips:
    """Read the labelled clips of a skeleton file; those of one group are in one fold."""
    data = read_data_set(path)
    listed = [clip for clip in data["annotations"] if clip["label"] >= 0 and clip["keypoint"].shape[1] > 4]
    rng = np.random.default_rng(0)
    chosen = [listed[place] for place in rng.permutation(len(listed))[:limit]]
    names = [str(clip.get("group", place)) for place, clip in enumerate(chosen)]
    _, group = np.unique(names, return_inverse=True)
    number = rng.permutation(group.max() + 1) % folds if group.max() >= folds else np.arange(group.max() + 1)
    labels = np.array([clip["label"] for clip in chosen])
    return Clips(np.stack([describe(clip) for clip in chosen]), labels, number[group])


def outputs_of(clips: Clips, left_out: int | None) -> tuple[Outputs, np.ndarray]:
    """Test each clip with models of the other folds; return the outputs, and labels among the classes that are known.

    Args:
        clips: The clips.
        left_out: Class whose clips are not trained on, with label -1 in the result; None to train on all.
    """
    known = clips.labels != (-1 if left_out is None else left_out)
    classes = np.unique(clips.labels[known])
    labels = np.where(known, np.searchsorted(classes, clips.labels), -1)
    found = Outputs({}, {})
    for fold in np.unique(clips.folds):
        train, test = (clips.folds != fold) & known, clips.folds == fold
        if len(np.unique(labels[train])) < len(classes):
            raise SystemExit(f"fold {fold}: a class has clips in this fold only; use fewer --folds")
        _add(found, clips, train, test, labels)
    return found, labels


def _add(found: Outputs, clips: Clips, train: np.ndarray, test: np.ndarray, labels: np.ndarray) -> None:
    scaler = StandardScaler().fit(clips.descriptors[train])
    known, asked, of_known = (
        scaler.transform(clips.descriptors[train]),
        scaler.transform(clips.descriptors[test]),
        labels[train],
    )
    regression = LogisticRegression(C=0.1, max_iter=300).fit(known, of_known)
    trees = ExtraTreesClassifier(TREES, random_state=0).fit(known, of_known)
    network = MLPClassifier((HIDDEN,), alpha=1e-3, max_iter=150, random_state=0).fit(known, of_known)
    of_known_hidden, hidden = _hidden(network, known), _hidden(network, asked)
    votes = trees.predict_proba(asked)
    of_network = hidden @ network.coefs_[1] + network.intercepts_[1]
    logits = {
        "regression": regression.decision_function(asked),
        "network": of_network,
        # Half a vote for every class, so that no probability is zero.
        "trees": np.log((votes * TREES + 0.5) / (TREES + 0.5 * votes.shape[1])),
        "network + trees": np.log((softmax(of_network, axis=1) + votes) / 2 + 1e-9),
    }
    distances = {
        "descriptors": fit_feature_distance(known, of_known)(asked),
        "hidden layer": fit_feature_distance(of_known_hidden, of_known)(hidden),
    }
    for whole, parts in ((found.logits, logits), (found.distances, distances)):
        for name, part in parts.items():
            whole.setdefault(name, np.full((len(labels), *part.shape[1:]), np.nan))[test] = part


def _hidden(network: MLPClassifier, values: np.ndarray) -> np.ndarray:
    hidden: np.ndarray = np.maximum(values @ network.coefs_[0] + network.intercepts_[0], 0)
    return hidden


def calibration_table(clips: Clips, found: Outputs, labels: np.ndarray) -> Table:
    columns = ("model", "accuracy", "temperature", "ECE before", "ECE after", "ECE if exact")
    table = Table(*columns, title=f"calibration, {len(labels)} clips", title_justify="left")
    for name, logits in found.logits.items():
        after = np.zeros(logits.shape)
        for fold in np.unique(clips.folds):
            test = clips.folds == fold
            after[test] = softmax(logits[test] / fit_temperature(logits[~test], labels[~test]), axis=1)
        before, calibrated = calibration_of(softmax(logits, axis=1), labels), calibration_of(after, labels)
        accuracy, temperature = (logits.argmax(axis=1) == labels).mean(), fit_temperature(logits, labels)
        errors = (f"{one:.3f}" for one in (before.ece, calibrated.ece, calibrated.ece_if_exact))
        table.add_row(name, f"{accuracy:.1%}", f"{temperature:.2f}", *errors)
    return table


def prior_table(found: Outputs, labels: np.ndarray) -> Table:
    title = (
        f"cross-entropy of the other clips, temperature from few clips, mean of {DRAWS} draws, by spread of the prior"
    )
    columns = [f"{spread:g}" for spread in SPREADS]
    table = Table("model", "clips", "no scaling", *columns, title=title, title_justify="left")
    rng = np.random.default_rng(0)
    for name, logits in found.logits.items():
        for count in COUNTS:
            if count > len(labels) / 2:
                continue
            losses = defaultdict(list)
            for _ in range(DRAWS):
                order = rng.permutation(len(labels))
                few, others = order[:count], order[count:]
                for spread in SPREADS:
                    temperature = fit_temperature(logits[few], labels[few], spread=spread)
                    losses[spread].append(_loss(logits[others] / temperature, labels[others]))
                losses[0.0].append(_loss(logits[others], labels[others]))
            table.add_row(name, str(count), *(f"{np.mean(losses[spread]):.3f}" for spread in (0.0, *SPREADS)))
    return table


def _loss(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def unknown_table(clips: Clips) -> Table:
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    classes = np.unique(clips.labels)
    for left_out in classes:
        outputs, labels = outputs_of(clips, left_out)
        known = labels >= 0
        for model, logits in outputs.logits.items():
            scaled = logits / fit_temperature(logits[known], labels[known])
            for features, distance in outputs.distances.items():
                spreads = spreads_of(scaled[known], distance[known])
                for kind in KINDS:
                    area = roc_auc_score(~known, unknown_score(kind, scaled, distance, spreads))
                    found[kind, features if kind in ("distance", "combined") else "-"][model].append(area)
    models = list(next(iter(found.values())))
    title = f"AUROC of actions that were left out, mean (minimum) of {len(classes)}"
    table = Table("score", "features", *models, title=title, title_justify="left")
    for (kind, features), row in found.items():
        table.add_row(kind, features, *(f"{np.mean(row[model]):.3f} ({min(row[model]):.2f})" for model in models))
    return table


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="skeleton file with labelled clips")
    parser.add_argument("--limit", type=int, default=None, help="number of clips, drawn at random (default: all)")
    parser.add_argument("--folds", type=int, default=9, help="number of folds (default: 9)")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="tables to print (default: all)")
    given = parser.parse_args(words)
    clips, console = read_clips(given.data, given.limit, given.folds), Console(width=140)
    found, labels = outputs_of(clips, None)
    if "calibration" in given.parts:
        console.print(calibration_table(clips, found, labels))
    if "prior" in given.parts:
        console.print(prior_table(found, labels))
    if "unknown" in given.parts:
        console.print(unknown_table(clips))


if __name__ == "__main__":
    main()
