"""Composition and order of batches: a function of seed and epoch only, so that resumed runs are exact."""

import signal
from collections import Counter
from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from pose_extraction.engines.devices import cpu_count
from pose_extraction.errors import UsageError
from recognition.data.batches import Batch
from recognition.data.dataset import Sample, collate, repeated

# With own lengths, clips are sorted within this many batches: little padding, but different batches in every epoch.
BATCHES_SORTED_TOGETHER = 32
MOST_WORKERS = 8


class ClipBatches:
    """Batches of one process, as lists of (epoch, position in the data set).

    Args:
        lengths: int (N,), frames of each clip.
        labels: int (N,), class of each clip; -1 for unlabelled clips.
        batch_size: Clips per batch, over all processes.
        train: Whether to shuffle the clips in every epoch and to avoid batches of a single clip, whose variance
            BatchNorm cannot compute.
        seed: Random seed of the order.
        own_lengths: Whether a batch contains clips of similar length.
        sampler: "shuffle": every clip once per epoch; "balanced": every class equally often, its clips drawn with
            replacement. Only used for training.
        rank: Rank of this process.
        world_size: Number of processes. Each gets a non-empty part of every batch.

    Raises:
        UsageError: The data set or a batch has fewer clips than there are processes.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        labels: np.ndarray,
        *,
        batch_size: int,
        train: bool,
        seed: int,
        own_lengths: bool,
        sampler: Literal["shuffle", "balanced"] = "shuffle",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if min(batch_size, len(lengths)) < world_size:
            raise UsageError(
                f"batches of {batch_size} from {len(lengths)} clips leave some of {world_size} processes empty: "
                "use fewer devices or larger batches"
            )
        self.lengths = np.asarray(lengths)
        self.labels = np.asarray(labels)
        self.batch_size = batch_size
        self.train = train
        self.seed = seed
        self.own_lengths = own_lengths
        self.sampler = sampler
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        """Return the number of batches per epoch, the same for every epoch and process."""
        return len(self._cut(np.arange(len(self.lengths))))

    def batches(self, epoch: int) -> list[list[tuple[int, int]]]:
        """Return this process's part of every batch of an epoch, as keys (draw, position) of the data set.

        The draw is the epoch. If a clip occurs several times in an epoch, each occurrence gets its own draw, see
        `repeated`.
        """
        rng = np.random.default_rng([self.seed, epoch])
        order = self._order(rng)
        whole = self._cut(order)
        if self.train and self.own_lengths:
            # Sorting puts short clips first; shuffle the batches so that their order does not depend on length.
            whole = [whole[place] for place in rng.permutation(len(whole))]
        times: Counter[int] = Counter()
        keys: list[list[tuple[int, int]]] = []
        for batch in whole:
            keys.append([])
            for position in batch.tolist():
                keys[-1].append((repeated(epoch, times[position]), position))
                times[position] += 1
        return [self._own(batch) for batch in keys]

    def _own(self, batch: list[tuple[int, int]]) -> list[tuple[int, int]]:
        places = np.array_split(np.arange(len(batch)), self.world_size)[self.rank]
        return [batch[place] for place in places]

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        count = len(self.lengths)
        if not self.train:
            return np.argsort(self.lengths, kind="stable") if self.own_lengths else np.arange(count)
        order = rng.permutation(count) if self.sampler == "shuffle" else self._balanced(rng)
        if not self.own_lengths:
            return order
        together = BATCHES_SORTED_TOGETHER * self.batch_size
        chunks = [order[start : start + together] for start in range(0, count, together)]
        return np.concatenate([chunk[np.argsort(self.lengths[chunk], kind="stable")] for chunk in chunks])

    def _balanced(self, rng: np.random.Generator) -> np.ndarray:
        """Draw as many clips as there are in the data set; the classes take turns in random order."""
        count = len(self.labels)
        classes = np.unique(self.labels)
        turns = np.concatenate([rng.permutation(classes) for _ in range(-(-count // len(classes)))])[:count]
        order = np.empty(count, np.int64)
        for label in classes:
            places = np.flatnonzero(turns == label)
            order[places] = rng.choice(np.flatnonzero(self.labels == label), len(places))
        return order

    def _cut(self, order: np.ndarray) -> list[np.ndarray]:
        """Cut into full batches and a rest; a rest that is too small is merged with the last batch and halved."""
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        fewest = max(2 if self.train else 1, self.world_size)
        if len(batches) > 1 and len(batches[-1]) < fewest:
            last = np.concatenate(batches[-2:])
            halves = np.array_split(last, 2)
            batches[-2:] = halves if len(halves[1]) >= fewest else [last]
        return batches


def make_loader(
    dataset: "Dataset[Sample]", batches: Sequence[list[tuple[int, int]]], *, workers: int | Literal["auto"]
) -> "DataLoader[Batch]":
    """Create a loader that reads the given batches in order. To resume within an epoch, pass `batches[k:]`.

    Args:
        dataset: Source of the clips.
        batches: Result of `ClipBatches.batches`.
        workers: Number of processes that read ahead; "auto": none on a CPU, whose cores the network needs, and up to
            eight with a GPU.

    Returns:
        A loader of `Batch` objects.
    """
    on_gpu = torch.cuda.is_available()
    beside_gpu = min(MOST_WORKERS, max(1, cpu_count() - 1)) if on_gpu else 0
    return DataLoader(
        # DataLoader is typed by the items of its data set and ignores `collate_fn`.
        cast("Dataset[Batch]", dataset),
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=beside_gpu if workers == "auto" else workers,
        worker_init_fn=_start_worker,
        # Its own generator: a loader otherwise draws from the global one, and a resumed run would differ.
        generator=torch.Generator().manual_seed(0),
        pin_memory=on_gpu,
    )


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    # Workers receive Ctrl-C and SIGTERM too, but the run still needs their clips while it saves.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
