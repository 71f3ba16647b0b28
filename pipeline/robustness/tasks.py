"""Tasks of a robustness benchmark per run, and the files that store their results, so that it can be resumed.

A task is one pass of a run over the clips with one draw of one damage, its deletion and insertion curves in one order,
or its attention in one clip. The file name is a digest of everything that the result depends on.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch

from pipeline.robustness.subjects import SkeletonSource, Subject, digest_of_names
from pose_extraction.engines.engine import Engine
from pose_extraction.files import atomic_write
from pose_extraction.skeleton import LAYOUTS, Skeleton, layout_by_shape
from recognition.data.batches import Batch
from recognition.data.batching import ClipBatches, make_loader
from recognition.data.clips import ClipSet
from recognition.data.dataset import SkeletonDataset
from recognition.data.perturbations import ErrorStatistics
from recognition.inference.clip_networks import ClipNetwork, network_for, resolve_clip_engine
from recognition.inference.scores import scores_of
from recognition.robustness.conditions import CLEAN, BenchSettings, Condition, perturbation_of
from recognition.robustness.statistics import UNANSWERED
from recognition.robustness.targeted import attention_behind, orders_of, passes_of, targeted_curves
from recognition.runs import Trained

# Version of the stored results; increase it whenever equal settings give different predictions than before: when
# `perturbation_of` or targeted masking change, or the content of the files. Results of other versions are ignored.
FORMAT = 2
# Exceptions for a file that was truncated by a kill or a full disk, or not written by this program.
UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)
# Number of clips for measuring the speed of a run, and of each kind of damage (of which there are many).
MEASURED, DAMAGED = 64, 8
AS_IT_IS = Condition(CLEAN)
Kind = Literal["answers", "targeted", "attention"]


@dataclass(frozen=True)
class Task:
    """One result to compute.

    Args:
        kind: Kind of the result.
        source: Position of the skeleton file in the benchmark.
        condition: Condition applied to the clips.
        seed: Seed of random draws.
        clip: Id of the clip, for attention.
        order: Order in which joints are removed and added, for targeted masking.
    """

    kind: Kind
    source: int
    condition: Condition = AS_IT_IS
    seed: int = 0
    clip: str = ""
    order: str = ""


@dataclass(frozen=True)
class Cache:
    """Stored results, addressed by everything that they depend on.

    Args:
        folder: Folder of the files.
        settings: Settings of the benchmark.
        engine: Device, backend, precision and batch settings, without "auto".
        sources: The skeleton files.
        statistics: Errors of other estimators by name.
        label_names: Names of the classes, numbered as in the stored predictions: those of the first run.
    """

    folder: Path
    settings: BenchSettings
    engine: Engine
    sources: list[SkeletonSource]
    statistics: Mapping[str, ErrorStatistics]
    label_names: tuple[str, ...]

    def path_of(self, subject: Subject, task: Task) -> Path:
        """Return the file of a result."""
        source = self.sources[task.source]
        choices = self.settings.model_dump(include={"noise_space", "occluded", "shifted"})
        parts: dict[str, Any] = {
            "format": FORMAT,
            "run": subject.digest,
            "data": source.digest,
            "clips": digest_of_names(source.names),
            # Predictions are stored as numbers, whose meaning depends on the first run's order of classes.
            "classes": self.label_names,
            "kind": task.kind,
            "condition": asdict(task.condition),
            "seed": task.seed,
            "placement": self.engine.facts(),
            "choices": choices if task.condition.family != CLEAN else None,
            "steps": self.settings.steps if task.kind == "targeted" else None,
            "clip": task.clip,
            "order": task.order,
        }
        if task.condition.other:
            found = self.statistics[task.condition.other]
            parts["statistics"] = hashlib.sha256(
                b"".join(np.ascontiguousarray(value).tobytes() for value in vars(found).values())
            ).hexdigest()
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest[:32]}.npz"

    def has(self, subject: Subject, task: Task) -> bool:
        """Whether a result is stored and readable; an unreadable one is computed again.

        Args:
            subject: The run.
            task: The result.
        """
        try:
            self.read(subject, task)
        except UNREADABLE:
            return False
        return True

    def read(self, subject: Subject, task: Task) -> dict[str, np.ndarray]:
        """Read a stored result, as arrays by name."""
        with np.load(self.path_of(subject, task), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}

    def write(self, subject: Subject, task: Task, result: Mapping[str, np.ndarray]) -> None:
        """Store a result, given as arrays by name."""
        content = io.BytesIO()
        np.savez_compressed(content, **dict(result))  # type: ignore[arg-type]
        with atomic_write(self.path_of(subject, task)) as file:
            file.write(content.getvalue())


def model_layout_of(trained: Trained, clips: ClipSet) -> Skeleton:
    """Return the joint layout of a run's network for a file.

    Args:
        trained: The run.
        clips: The file.
    """
    name = trained.layout
    return LAYOUTS[name] if name in LAYOUTS else layout_by_shape(clips.layout.num_joints, clips.dimensions)


def passes_of_task(task: Task, settings: BenchSettings) -> int:
    """Return how many forward passes over the clips a task needs."""
    return passes_of(1, settings.steps) if task.kind == "targeted" else 1


class Worker:
    """Executes the tasks of one run.

    Args:
        trained: The run.
        translation: int64 (K,), the benchmark's number of each of its classes.
        cache: Store of results and settings.
        skip_bad: Whether to skip malformed clips.
    """

    def __init__(self, trained: Trained, translation: np.ndarray, cache: Cache, *, skip_bad: bool) -> None:
        self.trained = trained
        self.translation = translation
        self.cache = cache
        self.skip_bad = skip_bad
        self.engine = resolve_clip_engine(cache.engine)
        assert self.engine.batch_size is not None
        self.batch_size = self.engine.batch_size

    @cached_property
    def network(self) -> ClipNetwork:
        """The run's network, created on first use; planning needs only one of several equal networks."""
        return network_for(self.trained.recognizer, self.engine)

    def do(self, task: Task, progress: Callable[[int], None]) -> dict[str, np.ndarray]:
        """Compute a task's result, as arrays by name.

        Args:
            task: The task.
            progress: Called with the number of clips after each forward pass.
        """
        if task.kind == "answers":
            return self._answers(task, progress)
        return self._targeted(task, progress) if task.kind == "targeted" else self._attention(task)

    def seconds_per_clip(self, source: SkeletonSource) -> float:
        """Measure the time per clip in seconds on some undamaged clips, after a warm-up."""
        clips = source.clips_of(self.trained, skip_bad=self.skip_bad)
        _, indices = source.visible_in(clips)
        chosen = indices[:: max(1, len(indices) // MEASURED)][:MEASURED]
        dataset = SkeletonDataset(clips, chosen, self.trained.settings.data, train=False)
        self._scores(SkeletonDataset(clips, chosen[: self.batch_size], self.trained.settings.data, train=False), None)
        started = perf_counter()
        self._scores(dataset, None)
        return (perf_counter() - started) / len(chosen)

    def seconds_besides_network(self, task: Task) -> float:
        """Measure the time per clip of a task without its forward passes: of its damage, or of the attention."""
        _, dataset = self._dataset(task)
        chosen = np.linspace(0, len(dataset) - 1, min(DAMAGED, len(dataset))).round().astype(int).tolist()
        if task.order.startswith("layer "):
            batch = next(iter(make_loader(dataset, [[(0, position) for position in chosen]], workers=0)))
            started = perf_counter()
            attention_behind(self.network, self.trained.recognizer, batch, [int(task.order.split()[1])])
            return (perf_counter() - started) / len(chosen)
        if task.condition.family == CLEAN:
            return 0.0
        _, clean = self._dataset(replace(task, condition=AS_IT_IS))
        # The first reading fills the file cache for the second.
        reading, damaged = (_seconds_to_read(one, chosen) for one in (clean, dataset))
        # With a GPU, several processes read in parallel.
        processes = max(1, make_loader(dataset, [], workers="auto").num_workers)
        return max(0.0, damaged - reading) / len(chosen) / processes

    def _dataset(self, task: Task) -> tuple[np.ndarray, SkeletonDataset]:
        """Return positions among the selected clips, and the clips with the task's damage."""
        source = self.cache.sources[task.source]
        clips = source.clips_of(self.trained, skip_bad=self.skip_bad)
        rows, indices = source.visible_in(clips)
        perturbation = perturbation_of(
            task.condition,
            self.cache.settings,
            layout=clips.layout,
            model_layout=model_layout_of(self.trained, clips),
            statistics=self.cache.statistics,
        )
        data = self.trained.settings.data
        return rows, SkeletonDataset(clips, indices, data, train=False, seed=task.seed, perturbation=perturbation)

    def _scores(self, dataset: SkeletonDataset, progress: Callable[[int], None] | None) -> Any:
        return scores_of(self.trained, dataset, self.engine, network=self.network, progress=progress)

    def _answers(self, task: Task, progress: Callable[[int], None]) -> dict[str, np.ndarray]:
        source = self.cache.sources[task.source]
        rows, dataset = self._dataset(task)
        scores = self._scores(dataset, progress)
        predicted = np.full(len(source.names), UNANSWERED, np.int32)
        predicted[rows] = self.translation[scores.probabilities.argmax(axis=1)]
        result = {"predicted": predicted}
        if task.condition.family == CLEAN and task.source == 0:
            result |= {"features": scores.features.astype(np.float16), "rows": rows}
        return result

    def _batches(self, dataset: SkeletonDataset) -> tuple[list[int], Iterator[Batch]]:
        """Return positions in the data set in batch order, and the batches."""
        batches = ClipBatches(
            dataset.lengths,
            dataset.labels,
            batch_size=self.batch_size,
            train=False,
            seed=0,
            own_lengths=int(np.ptp(dataset.lengths)) > 0,
        ).batches(0)
        return [position for batch in batches for _, position in batch], iter(
            make_loader(dataset, batches, workers="auto")
        )

    def _targeted(self, task: Task, progress: Callable[[int], None]) -> dict[str, np.ndarray]:
        source = self.cache.sources[task.source]
        rows, dataset = self._dataset(task)
        places, batches = self._batches(dataset)
        # Labels numbered as in the run, like its predictions.
        own = np.argsort(self.translation)[source.labels[rows]]

        def labelled() -> Iterator[Batch]:
            start = 0
            for batch in batches:
                here = places[start : start + len(batch)]
                start += len(batch)
                label = torch.from_numpy(own[here])
                yield Batch(batch.keypoint, batch.person_mask, batch.frame_mask, label, batch.index, batch.names)

        curves = targeted_curves(
            self.trained.recognizer,
            self.network,
            labelled(),
            [task.order],
            steps=self.cache.settings.steps,
            seed=task.seed,
            progress=progress,
        )[task.order]
        back = np.argsort(places)
        return {"deleted": curves.deleted[:, back], "inserted": curves.inserted[:, back], "rows": rows}

    def _attention(self, task: Task) -> dict[str, np.ndarray]:
        rows, dataset = self._dataset(task)
        source = self.cache.sources[task.source]
        layers = [order for order in orders_of(self.trained.recognizer.backbone) if order.startswith("layer ")]
        position = [source.names[row] for row in rows].index(task.clip)
        batch = next(iter(make_loader(dataset, [[(0, position)]], workers=0)))
        if not layers:
            return {"layers": np.array([], np.str_)}
        numbers = [int(layer.split()[1]) for layer in layers]
        found = attention_behind(self.network, self.trained.recognizer, batch, numbers)
        return {
            "layers": np.array(layers, np.str_),
            "attention": np.stack([one[0].float().numpy() for one in found]),
        }


def _seconds_to_read(dataset: SkeletonDataset, positions: Sequence[int]) -> float:
    """Return the shorter of two measurements, because other processes may interfere."""
    times = []
    for _ in range(2):
        started = perf_counter()
        for position in positions:
            dataset[position]
        times.append(perf_counter() - started)
    return min(times)
