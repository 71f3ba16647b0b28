"""Composition of batches: every clip once, in an order that depends only on seed and epoch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pose_extraction.errors import UsageError
from recognition.data.batching import ClipBatches, make_loader
from recognition.data.clips import open_clips
from recognition.data.dataset import SkeletonDataset, repeated
from recognition.settings import DataSettings
from test_support.clips.made_clips import annotation, write_clips


def batches_of(count: int, **settings: object) -> ClipBatches:
    rng = np.random.default_rng(0)
    arguments = {"batch_size": 8, "train": True, "seed": 0, "own_lengths": False, **settings}
    return ClipBatches(rng.integers(10, 200, count), rng.integers(0, 3, count), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [8, 9, 16, 17, 61, 1])
@pytest.mark.parametrize("own_lengths", [False, True])
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_clip_occurs_once_and_no_part_is_empty(
    count: int, own_lengths: bool, train: bool, world_size: int
) -> None:
    if count < world_size:
        pytest.skip("fewer clips than processes are refused")
    parts = [
        batches_of(count, own_lengths=own_lengths, train=train, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for epoch in (0, 3):
        by_rank = [part.batches(epoch) for part in parts]
        assert {len(batches) for batches in by_rank} == {len(parts[0])}
        assert all(batch for batches in by_rank for batch in batches)
        items = [item for batches in by_rank for batch in batches for item in batch]
        assert sorted(items) == [(epoch, position) for position in range(count)]
        sizes = [sum(len(part) for part in step) for step in zip(*by_rank, strict=True)]
        assert count == 1 or not train or min(sizes) > 1


def test_parts_of_processes_equal_the_batch_of_one_process() -> None:
    whole = batches_of(61).batches(2)
    halves = [batches_of(61, rank=rank, world_size=2).batches(2) for rank in range(2)]
    assert [first + second for first, second in zip(*halves, strict=True)] == whole


def test_seed_and_epoch_determine_the_order() -> None:
    assert batches_of(61).batches(1) == batches_of(61).batches(1)
    orders = [
        [position for batch in batches_of(61, seed=seed).batches(epoch) for _, position in batch]
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert orders[0] != orders[1] and orders[0] != orders[2]
    flat = [position for batch in batches_of(61, train=False).batches(4) for _, position in batch]
    assert flat == list(range(61))


def test_own_lengths_cause_little_padding() -> None:
    batches = batches_of(512, own_lengths=True)
    kept = padded = 0
    first_longest = []
    for batch in batches.batches(0):
        lengths = batches.lengths[[position for _, position in batch]]
        kept += lengths.sum()
        padded += lengths.max() * len(lengths)
        first_longest.append(lengths.max())
    assert kept / padded > 0.95
    # The order of batches does not depend on their length.
    assert abs(np.corrcoef(np.arange(len(first_longest)), first_longest)[0, 1]) < 0.5


def test_balanced_sampling_uses_every_class_equally_often() -> None:
    labels = np.array([0] * 80 + [1] * 8 + [2] * 2)
    batches = ClipBatches(
        np.full(90, 5), labels, batch_size=9, train=True, seed=0, own_lengths=False, sampler="balanced"
    )
    keys = [key for batch in batches.batches(3) for key in batch]
    drawn = [position for _, position in keys]
    # A repeated clip gets a new draw, different from those of other epochs.
    assert len(set(keys)) == len(keys) > len(set(drawn))
    assert {draw for draw, _ in keys} == {
        repeated(3, times) for times in range(drawn.count(max(drawn, key=drawn.count)))
    }
    assert np.bincount(labels[drawn]).tolist() == [30, 30, 30]
    assert len(set(drawn) & set(range(80))) > 20


def test_more_processes_than_clips_are_refused() -> None:
    with pytest.raises(UsageError, match="fewer devices"):
        batches_of(3, world_size=4)
    with pytest.raises(UsageError, match="fewer devices"):
        batches_of(30, batch_size=2, world_size=4)


def test_loader_is_independent_of_workers_and_can_start_in_the_middle(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clips = [
        annotation(f"c{n}", rng, label=n % 3, frames=int(rng.integers(5, 30)), persons=1 + n % 2) for n in range(20)
    ]
    settings = DataSettings(num_frames="own", flip=0.5)
    opened = open_clips(write_clips(tmp_path / "a.pkl", clips), settings)
    data = SkeletonDataset(opened, np.arange(20), settings, train=True, seed=3)
    batches = ClipBatches(data.lengths, data.labels, batch_size=4, train=True, seed=3, own_lengths=True).batches(5)
    before = torch.get_rng_state()
    alone = list(make_loader(data, batches, workers=0))
    assert torch.equal(torch.get_rng_state(), before)
    for others in (
        list(make_loader(data, batches, workers=2)),
        alone[:2] + list(make_loader(data, batches[2:], workers=0)),
    ):
        for one, other in zip(alone, others, strict=True):
            assert one.names == other.names
            for field in ("keypoint", "person_mask", "frame_mask", "label", "index"):
                assert torch.equal(getattr(one, field), getattr(other, field)), field
    assert torch.equal(torch.get_rng_state(), before)
