"""Figures of a robustness benchmark."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from pipeline.robustness.results import Results, title_of
from pipeline.robustness.tables import confusing_condition
from pipeline.robustness.tasks import Task, model_layout_of
from recognition.data.clip import Clip
from recognition.data.perturbations import FrameCrop, GaussianNoise, Perturbation
from recognition.data.transforms.placement import to_camera
from recognition.robustness import plots
from recognition.robustness.conditions import (
    BY_NAME,
    CLEAN,
    CONSTANT_NOISE,
    ESTIMATOR_ERRORS,
    NOISE,
    NOISE_OF_CONFUSIONS,
    NOISE_OF_TABLES,
    Condition,
    perturbation_of,
)
from recognition.robustness.statistics import metrics_of
from recognition.runs import load_run

if TYPE_CHECKING:
    from pipeline.robustness.bench import Bench

# Families in each figure; families that were not measured are omitted.
OCCLUSION = ("part", "joints", "shifted", "frames_deleted", "frames_empty", "spatial", "temporal")
PIPELINE = (
    "identity_switches",
    "left_right_swaps",
    "dropped_people",
    "lower_frame_rate",
    "lower_confidence",
    "frame_crop",
)
# Names of all figures that `draw_all` can draw.
DRAWN = (
    "noise",
    "occlusion",
    "pipeline",
    "estimator_errors",
    "targeted",
    "class_gains",
    "confusions",
    "tsne",
    "attention",
    "noisy_skeletons",
    "damaged_skeletons",
)
NOISE_SHOWN = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)


def draw_all(bench: "Bench", results: Results) -> dict[str, tuple[str, Figure]]:
    """Return every figure for which there are results: name -> (title, figure).

    Args:
        bench: Definition of the benchmark.
        results: Results of the benchmark.
    """
    title = f"{bench.sources[0].path.name}, {bench.split}, {len(bench.sources[0].names)} clips"
    measured = {condition.family for condition in bench.conditions}
    drawn: dict[str, tuple[str, Figure]] = {}
    noises = [family for family in (NOISE, CONSTANT_NOISE) if family in measured]
    if noises:
        curves = {BY_NAME[family].title: _curves(bench, results, family) for family in noises}
        drawn["noise"] = ("Accuracy under Gaussian noise (figure 5 of the paper)", plots.noise_figure(curves, title))
    for name, families, words in (
        ("occlusion", OCCLUSION, "Accuracy under occlusion and shifted joints (figure 6 of the paper)"),
        ("pipeline", PIPELINE, "Accuracy under artefacts of detectors, trackers and recordings"),
    ):
        panels = {
            BY_NAME[family].title: (BY_NAME[family].unit, _curves(bench, results, family))
            for family in families
            if family in measured
        }
        if panels:
            drawn[name] = (words, plots.levels_figure(panels, title))
    if ESTIMATOR_ERRORS in measured:
        panels = {
            f"errors of {other}": ("strength (1: as measured)", _curves(bench, results, ESTIMATOR_ERRORS, other))
            for other in bench.cache.statistics
        }
        drawn["estimator_errors"] = (
            "Accuracy under the measured errors of other estimators",
            plots.levels_figure(panels, title),
        )
    if results.curves:
        drawn["targeted"] = (
            "Deletion and insertion of joints in the order of attention",
            plots.targeted_figure(results.curves, title),
        )
    drawn |= _of_classes(bench, results, title)
    drawn |= _of_clips(bench, results, title)
    assert set(drawn) <= set(DRAWN)
    return drawn


def _curves(bench: "Bench", results: Results, family: str, other: str = "") -> dict[str, plots.Curve]:
    """Return per method: levels (clean first), accuracies and standard deviations."""
    conditions = [one for one in bench.conditions if one.family == family and one.other == other]
    numeric = family in (NOISE, CONSTANT_NOISE)
    levels = [0.0 if numeric else CLEAN, *(one.level for one in conditions)]
    curves = {}
    for method in results.methods:
        found = [results.accuracies[method, 0, one] for one in (Condition(CLEAN), *conditions)]
        curves[method] = (levels, [one.mean for one in found], [one.spread or 0.0 for one in found])
    return curves  # type: ignore[return-value]


def _of_classes(bench: "Bench", results: Results, title: str) -> dict[str, tuple[str, Figure]]:
    labels, names = bench.sources[0].labels, bench.label_names
    drawn: dict[str, tuple[str, Figure]] = {}
    gains: dict[str, dict[str, float]] = {}
    for row in results.tables["class_gains"]:
        gains.setdefault(row["against"], {})[row["class"]] = row["gain"]
    if gains:
        condition = confusing_condition(bench, NOISE_OF_TABLES)
        drawn["class_gains"] = (
            "Gains of the first method per class",
            plots.gains_figure(gains, results.methods[0], f"{title}, {_named(condition)}"),
        )
    condition = confusing_condition(bench, NOISE_OF_CONFUSIONS)
    matrices = {
        method: metrics_of(results.answers[method, 0, condition], labels, len(names)) for method in results.methods
    }
    drawn["confusions"] = ("Confusions", plots.confusions_figure(matrices, names, f"{title}, {_named(condition)}"))
    return drawn


def _named(condition: Condition) -> str:
    level = "" if condition.level is None else f" {plots.words_of(condition.level)}"
    return f"{title_of(condition)}{level}"


def _features(bench: "Bench", results: Results, title: str) -> Figure:
    places: dict[str, list[tuple[float, float]]] = {method: [] for method in results.methods}
    labels: dict[str, int] = {}
    for row in results.tables["tsne"]:
        places[row["method"]].append((row["x"], row["y"]))
        labels[row["clip"]] = bench.label_names.index(row["class"])
    return plots.features_figure(
        {method: np.array(found) for method, found in places.items()},
        np.array(list(labels.values())),
        bench.label_names,
        title,
    )


def _of_clips(bench: "Bench", results: Results, title: str) -> dict[str, tuple[str, Figure]]:
    """Return t-SNE of one run per method, attention in the chosen clip, and that clip with damage."""
    firsts = {method: next(one for one in bench.subjects if one.method == method) for method in results.methods}
    main = bench.sources[0]
    drawn = {}
    if results.tables["tsne"]:
        drawn["tsne"] = ("Features of one run of each method", _features(bench, results, title))
    first = load_run(bench.subjects[0].path)
    clips = main.clips_of(first, skip_bad=bench.skip_bad)
    attention: dict[str, tuple[np.ndarray, Sequence[str]]] = {}
    for method, subject in firsts.items():
        found = bench.cache.read(subject, Task("attention", 0, clip=bench.clip))
        if len(found["layers"]):
            # The joint layout of each network may differ from that of the file.
            attention[method] = found["attention"][-1], model_layout_of(load_run(subject.path), clips).joints
    if attention:
        drawn["attention"] = (
            "Attention over time",
            plots.attention_figure(attention, f"clip {bench.clip}, its first person"),
        )
    if clips.dimensions == 2:
        clip = clips[clips.names.index(bench.clip)]
        assert clip.size is not None
        damages: dict[str, Perturbation | None] = {
            f"sigma {sigma:g} ({sigma * max(clip.size) / 2:.1f} pixels)": GaussianNoise(sigma) for sigma in NOISE_SHOWN
        }
        if NOISE in {one.family for one in bench.conditions}:
            drawn["noisy_skeletons"] = (
                "Noisy skeletons",
                plots.skeletons_figure(_damaged(bench, clip, damages), clips.layout, clip.size, f"clip {bench.clip}"),
            )
        others = _strongest(bench.conditions)
        shown = {
            f"{title_of(one)}: {plots.words_of(one.level)}": perturbation_of(
                one,
                bench.settings,
                layout=clips.layout,
                model_layout=clips.layout,
                statistics=bench.cache.statistics,
            )
            for one in others
        }
        if shown:
            drawn["damaged_skeletons"] = (
                "Other damage, at the highest level measured",
                plots.skeletons_figure(
                    _damaged(bench, clip, {"as it is": None, **shown}), clips.layout, clip.size, f"clip {bench.clip}"
                ),
            )
    return drawn


def _strongest(conditions: Sequence[Condition]) -> list[Condition]:
    """Return the highest level of each family that is visible in a single frame."""
    shown = ("part", "joints", "shifted", "spatial", "frame_crop", ESTIMATOR_ERRORS)
    last = {(one.family, one.other): one for one in conditions if one.family in shown}
    return list(last.values())


def _damaged(
    bench: "Bench", clip: Clip, damages: dict[str, Perturbation | None]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the frame of a clip with the most visible joints, under each damage, in pixels."""
    assert clip.size is not None
    frame = int((clip.score > 0).sum(axis=(0, 2)).argmax())
    found = {}
    for name, damage in damages.items():
        keypoint, score = to_camera(clip.keypoint, clip.size), clip.score
        if damage is not None:
            damaged, score = damage(keypoint, score, np.random.default_rng(bench.settings.seed), clip.size)
            # A cropped picture is shown at its position in the original one.
            keypoint = keypoint if isinstance(damage, FrameCrop) else damaged
        pixels = (keypoint[:, frame] + 1) * max(clip.size) / 2
        found[name] = np.where((score[:, frame] > 0)[..., None], pixels, np.nan), score[:, frame]
    return found
