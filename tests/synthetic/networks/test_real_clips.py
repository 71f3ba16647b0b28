"""Comparison of small networks with larger ones, joint by joint."""

from pathlib import Path

import numpy as np
import pytest

from pose_extraction.engines.engine import Engine
from pose_extraction.networks.estimators import load_detector, load_estimator
from pose_extraction.networks.identity import NetworkOptions, identify
from pose_extraction.networks.topdown import TopdownEstimator
from pose_extraction.oks import OUTLINE_SHARE, box_area, joint_likeness, oks
from synthetic.networks.measuring import BoxCounts
from synthetic.networks.packing import Comparison, card_of
from synthetic.networks.real_clips import (
    ReferenceFrame,
    Similarity,
    compare_detector,
    compare_estimator,
    reference_frames,
)
from synthetic.networks.recipes import recipe_named
from test_support.networks.tiny_networks import write_tiny_networks
from test_support.videos.made_video import write_made_clip


def test_similarity_is_oks_by_joint() -> None:
    random = np.random.default_rng(0)
    reference = random.uniform(20, 80, (3, 17, 2))
    keypoint = reference + random.normal(0, 4, reference.shape)
    box = np.array([[10.0, 10, 90, 90], [0, 0, 50, 100], [20, 20, 60, 60]])
    area = OUTLINE_SHARE * box_area(box)
    values = joint_likeness(keypoint, reference, area)
    np.testing.assert_allclose(values.mean(1), oks(keypoint, reference, area))
    keypoint[0, 3] = np.nan
    assert joint_likeness(keypoint, reference, area)[0, 3] == 0.0


def test_a_network_equals_itself_and_an_empty_frame_is_no_error(tmp_path: Path) -> None:
    pose, boxes = write_tiny_networks(tmp_path)
    clip = tmp_path / "clip.mp4"
    write_made_clip(clip, size=(120, 160), persons=2)
    frames = reference_frames([clip], str(pose), str(boxes))
    # The test network is never confident; the threshold is lowered to its scores.
    options = NetworkOptions(Engine(precision="fp32"))
    estimator = load_estimator(identify("estimator", str(pose), options=options), options)
    assert isinstance(estimator, TopdownEstimator)
    detector = load_detector(identify("detector", str(boxes), options=options), options)
    sure = []
    for frame in frames:
        keypoint, _ = estimator.estimate(estimator.crop(frame.picture, frame.box))
        sure.append(ReferenceFrame(frame.picture, frame.box, keypoint))
    same = compare_estimator(estimator, sure)
    assert same.persons == sum(len(frame.box) for frame in frames) > 0
    assert same.mean == pytest.approx(1.0)
    moved = [ReferenceFrame(one.picture, one.box, one.keypoint + 6) for one in sure]
    assert compare_estimator(estimator, moved).mean < 0.9
    boxes_found = compare_detector(detector, frames)
    assert boxes_found.recall == boxes_found.precision == 1.0
    nobody = [ReferenceFrame(one.picture, np.zeros((0, 4)), np.zeros((0, 17, 2))) for one in frames]
    assert compare_estimator(estimator, nobody).persons == 0
    assert compare_detector(detector, nobody).false == boxes_found.found


def test_a_card_reports_results_on_real_clips(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"0")
    recipe = recipe_named("hrnet-tiny")
    similarity = Similarity(np.full(17, 4), np.full(17, 3.0), persons=4)
    card = card_of(recipe, weights, {"PCK@0.1": 0.93}, 10, Comparison(similarity, 5, "large"))
    assert "| OKS | 0.750 |" in card and "On 5 frames of real clips" in card and "joints of large" in card
    assert "4 persons" in card and "| left_wrist | 0.750 |" in card
    card = card_of(recipe, weights, {"recall": 0.9}, 10, Comparison(BoxCounts(8, 6, 2), 5, "larger"))
    assert "relative to the 8 persons found by larger" in card and "| recall | 0.750 |" in card
    assert "real clips" not in card_of(recipe, weights, {"recall": 0.9}, 10)
