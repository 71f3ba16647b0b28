"""Mapping attention back to the joints, frames and persons of a clip."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pose_extraction.skeleton import COCO17
from recognition.data.dataset import SkeletonDataset, collate
from recognition.data.transforms import H36M_PARENTS
from recognition.inference.asker import Asker, clips_in_memory, frames_seen
from recognition.inference.explanation import explain, to_coco
from recognition.recognizer import Recognizer, build_recognizer
from recognition.runs import Trained
from recognition.settings import DataSettings, ModelSettings, RunSettings

pytestmark = pytest.mark.processor


def recognizer(joints: int = 17) -> Recognizer:
    torch.manual_seed(0)
    settings = ModelSettings(dim=16, depth=1, heads=2, dim_representation=16, hidden=16, max_frames=32)
    # Far from uniform, as after training.
    made = build_recognizer(settings, num_joints=joints, channels=3, num_classes=3).eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "qkv" in name:
                weight.mul_(40)
    return made


def clip(persons: int, frames: int, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "frame_dir": f"clip{seed}",
        "img_shape": (480, 640),
        "track_id": np.arange(persons),
        "keypoint": rng.uniform(50, 400, (persons, frames, 17, 2)).astype(np.float32),
        "keypoint_score": np.ones((persons, frames, 17), np.float32),
    }


def dataset_of(annotation: dict, **settings: object) -> SkeletonDataset:
    clips = clips_in_memory([annotation], path=Path("clips"), score_threshold=0.0)
    return SkeletonDataset(clips, np.arange(1), DataSettings(**settings), train=False)  # type: ignore[arg-type]


def test_attention_covers_every_frame_with_mean_one() -> None:
    network, data = recognizer(), dataset_of(clip(2, 12), num_frames="own", max_frames=32)
    found = explain(network, data, 0)
    with torch.inference_mode():
        raw = network.encode(collate([data[0]]), return_attention=True).attention
    assert raw is not None and found.persons.tolist() == [0, 1]
    expected = raw.numpy() / raw.numpy().mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(found.attention, expected, rtol=1e-5)
    # The test would be meaningless if all joints had equal attention.
    assert np.ptp(found.attention) > 0.2


def test_skipped_frames_have_the_attention_of_the_nearest_frame() -> None:
    network, data = recognizer(), dataset_of(clip(1, 40), num_frames=10, max_frames=32)
    found = explain(network, data, 0).attention[0]
    assert found.shape == (40, 17)
    # Frames 0, 4, 8 ... are seen; 1 and 2 are closest to 0, 3 to 4.
    for frame, seen in ((1, 0), (2, 0), (3, 4), (5, 4), (39, 36)):
        np.testing.assert_array_equal(found[frame], found[seen])
    assert not np.array_equal(found[0], found[4])


def test_unseen_persons_and_frames_have_no_attention() -> None:
    annotation = clip(3, 12)
    for name in ("keypoint", "keypoint_score"):
        annotation[name][0] = 0
        annotation[name][1, 3:6] = 0
    found = explain(recognizer(), dataset_of(annotation, num_frames="own", max_frames=32), 0)
    assert found.persons.tolist() == [1, 2]
    assert np.isnan(found.attention[0, 3:6]).all() and np.isfinite(found.attention[0, :3]).all()
    assert np.isfinite(found.attention[1]).all()


def test_human36m_attention_is_distributed_over_coco_joints() -> None:
    attention = np.random.default_rng(0).uniform(size=(5, 17))
    expected = np.zeros((5, 17))
    for joint, parents in enumerate(H36M_PARENTS):
        for parent in parents:
            expected[:, parent] += attention[:, joint] / len(parents)
    np.testing.assert_allclose(to_coco(attention), expected)
    np.testing.assert_allclose(to_coco(attention).sum(axis=-1), attention.sum(axis=-1))
    found = explain(recognizer(), dataset_of(clip(1, 8), num_frames="own", model_layout="h36m17"), 0)
    assert found.attention.shape == (1, 8, COCO17.num_joints)


def test_frames_seen_counts_frames_with_a_person() -> None:
    score = np.zeros((2, 6, 17))
    score[0, 1, 3], score[1, 1, 0], score[1, 4, 2] = 0.5, 0.9, 0.2
    assert frames_seen(score, 0.0) == 2 and frames_seen(score, 0.3) == 1


@pytest.mark.parametrize("own", [True, False])
def test_predictions_do_not_depend_on_other_persons_in_the_batch(own: bool) -> None:
    settings = DataSettings(num_frames="own" if own else 16, max_frames=32)
    trained = Trained(
        recognizer=recognizer(),
        settings=RunSettings(data=settings),
        label_names=("a", "b", "c"),
        layout="coco17",
        channels=3,
        estimator=None,
        held_out={},
        epoch=1,
        path=Path("run"),
    )
    asker = Asker(trained, device="cpu", backend="torch", precision="fp32", batch_size=3)
    clips = [clip(1 + n % 2, 8 + n, seed=n) for n in range(5)]
    together = asker.probabilities(clips)
    alone = np.concatenate([asker.probabilities([one]) for one in clips])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.ptp(together, axis=0).max() > 1e-4
    best = asker.best(together[0], 2)
    assert len(best) == 2 and best[0][1] == together[0].max() >= best[1][1]
