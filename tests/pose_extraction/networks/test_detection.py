"""Detectors compared with mmdet's inference, and decoders compared with plain loops."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pose_extraction.engines.engine import Engine
from pose_extraction.networks.detection import suppress_overlaps
from pose_extraction.networks.estimators import load_detector
from pose_extraction.networks.identity import NetworkOptions, identify
from pose_extraction.networks.model_zoo import lookup
from pose_extraction.networks.one_stage import (
    DetectorSpec,
    OneStageDetector,
    decode_rtmdet,
    decode_yolox,
    oblong_size,
)
from pose_extraction.networks.openmmlab import mmlab, mmlab_packages
from pose_extraction.networks.openmmlab.two_stage import TwoStageDetector
from pose_extraction.oks import box_iou
from test_support.networks.untrained_detectors import picture, spread_scores

pytestmark = pytest.mark.processor

with_mmlab = pytest.mark.skipif(bool(mmlab_packages.missing_packages()), reason="the OpenMMLab extra is not installed")


@pytest.mark.slow
@with_mmlab
@pytest.mark.parametrize("name", ["rtmdet-tiny", "rtmdet-nano", "faster-rcnn"])
def test_detections_equal_those_of_mmdet(name: str, tmp_path: Path) -> None:
    """Compare person boxes with mmdet's inference_detector: seeded weights, two frame sizes, fp32."""
    mmlab_packages.prepare()
    from mmdet.apis import inference_detector

    entry = lookup(name, "detector")
    network, config = mmlab.build_detector(entry.package, entry.config, seed=1)
    spread_scores(network, config)
    checkpoint = tmp_path / "weights.pth"
    torch.save({"state_dict": network.state_dict()}, checkpoint)

    threshold = 0.1 if config.two_stage else 0.8
    options = NetworkOptions(
        Engine(device="cpu", backend="torch", precision="fp32"), score_threshold=threshold, oblong=False, frame_batch=1
    )
    ours = load_detector(identify("detector", name, checkpoint=str(checkpoint), options=options), options)
    network.cfg = mmlab.load_config(entry.package, entry.config)
    # mmdet's limits on the number of boxes include other classes, so only the best boxes are compared.
    compared = 0
    # Square frames for RTMDet: with padding, mmdet returns untrained boxes outside the image.
    for frame in (picture(270, 480), picture(301, 211)) if config.two_stage else (picture(480, 480), picture(301, 301)):
        box, score = ours.detect([frame])[0]
        with mmlab_packages.scope("mmdet"):
            theirs = inference_detector(network, frame).pred_instances.numpy()
        # mmdet keeps a fixed number of boxes of all classes, so ours may have more below the lowest score of mmdet.
        floor = max(threshold, theirs.scores.min()) + 1e-3
        persons = (theirs.labels == 0) & (theirs.scores > floor)
        their_box, their_score = theirs.bboxes[persons], theirs.scores[persons]
        box, score = box[score > floor - 1e-3], score[score > floor - 1e-3]
        overlap = box_iou(their_box, box)
        partner = overlap.argmax(1)
        # In pixels, as IoU says little about the thin boxes of untrained networks.
        np.testing.assert_allclose(box[partner], their_box, atol=0.05)
        np.testing.assert_allclose(score[partner], their_score, atol=2e-3)
        assert abs(len(box) - len(their_box)) <= 1 + 0.05 * len(their_box)
        compared += len(their_box)
    assert compared >= 10, "too few boxes pass the threshold for the comparison to mean anything"


@pytest.mark.slow
@with_mmlab
def test_the_result_of_a_frame_does_not_depend_on_its_batch() -> None:
    """Bit-identical, also with frames of other shapes and in incomplete batches."""
    mmlab_packages.prepare()
    entry = lookup("faster-rcnn", "detector")
    network, config = mmlab.build_detector(entry.package, entry.config, seed=1)
    spread_scores(network, config)
    small = dataclasses.replace(config, input_size=(128, 224))
    detector = TwoStageDetector(network, small, Engine("cpu", "torch", "fp32"), score_threshold=0.1, batch_size=2)
    frames = [picture(120, 200), picture(200, 120), picture(121, 200)]
    for frame, (box, score) in zip(frames, detector.detect(frames), strict=True):
        ((alone_box, alone_score),) = detector.detect([frame])
        assert len(box)
        np.testing.assert_array_equal(box, alone_box)
        np.testing.assert_array_equal(score, alone_score)


def test_rtmdet_decoding_follows_the_paper() -> None:
    generator = np.random.default_rng(0)
    spec = DetectorSpec((64, 96), "rtmdet", strides=(8, 16), person_class=1)
    outputs = [generator.normal(size=(3, 64 // stride, 96 // stride)).astype(np.float32) for stride in (8, 16)]
    outputs += [generator.random((4, 64 // stride, 96 // stride)).astype(np.float32) * 30 for stride in (8, 16)]
    expected = []
    for level, stride in enumerate((8, 16)):
        for row in range(64 // stride):
            for column in range(96 // stride):
                score = 1 / (1 + np.exp(-float(outputs[level][1, row, column])))
                left, top, right, bottom = outputs[2 + level][:, row, column]
                if score > 0.6:
                    x, y = column * stride, row * stride
                    expected.append((x - left, y - top, x + right, y + bottom, score))
    box, score = decode_rtmdet(outputs, (64, 96), spec, 0.6)
    np.testing.assert_allclose(np.concatenate([box, score[:, None]], 1), np.array(expected), rtol=1e-5)


@pytest.mark.parametrize("decoded", [False, True], ids=["raw grid", "decoded grid"])
def test_yolox_decoding_follows_the_paper(decoded: bool) -> None:
    generator = np.random.default_rng(0)
    spec = DetectorSpec((64, 96), "yolox", strides=(8, 16))
    cells, expected = [], []
    for stride in (8, 16):
        for row in range(64 // stride):
            for column in range(96 // stride):
                raw = generator.normal(size=4)
                objectness, person = generator.random(2)
                x, y = (raw[0] + column) * stride, (raw[1] + row) * stride
                w, h = np.exp(raw[2]) * stride, np.exp(raw[3]) * stride
                cells.append([*((x, y, w, h) if decoded else raw), objectness, person, 0.9])
                if objectness * person > 0.5:
                    expected.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2, objectness * person))
    box, score = decode_yolox([np.array(cells, np.float32)], (64, 96), spec, 0.5)
    np.testing.assert_allclose(np.concatenate([box, score[:, None]], 1), np.array(expected), rtol=1e-4, atol=1e-3)


def test_suppression_keeps_the_best_box_of_each_cluster_and_no_empty_box() -> None:
    box = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10], [5, 5, 5, 9]], np.float32)
    kept, score = suppress_overlaps(box, np.array([0.5, 0.9, 0.4, 0.99], np.float32), 0.6)
    np.testing.assert_array_equal(kept, box[[1, 2]])
    np.testing.assert_array_equal(score, np.array([0.9, 0.4], np.float32))


@pytest.mark.parametrize(
    ("frame", "expected"),
    [((1080, 1920), (384, 640)), ((480, 640), (480, 640)), ((1920, 1080), (640, 384)), ((500, 500), (640, 640))],
)
def test_oblong_input_fits_the_frame_at_the_scale_of_the_square(
    frame: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert oblong_size(frame, (640, 640)) == expected
    scale = 640 / max(frame)
    assert expected[0] >= round(frame[0] * scale)
    assert expected[1] >= round(frame[1] * scale)


class _SeesOneSquare:
    """A network that returns one fixed YOLOX cell, and stores its input."""

    batch_size = 2

    def __init__(self) -> None:
        self.shown: list[np.ndarray] = []

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        self.shown.extend(images)
        cell = np.array([48, 32, 16, 32, 0.9, 1.0], np.float32)
        return [np.broadcast_to(cell, (len(images), 1, 6)).copy()]


@pytest.mark.parametrize("letterbox", ["corner", "centre", "stretch"])
def test_boxes_are_in_pixels_of_the_frame(letterbox: str) -> None:
    network = _SeesOneSquare()
    spec = DetectorSpec((64, 96), "yolox", strides=(16,), letterbox=letterbox)
    detector = OneStageDetector(lambda _size: network, spec, score_threshold=0.3, batch_size=2)
    frames = [np.full((32, 32, 3), 200, np.uint8), np.full((128, 192, 3), 200, np.uint8)]
    found = detector.detect(frames)
    left = {"corner": 0, "centre": 16, "stretch": 0}[letterbox]
    scale = np.array([3.0, 2.0]) if letterbox == "stretch" else np.array([2.0, 2.0])
    corners = (np.array([[40, 16], [56, 48]]) - [left, 0]) / scale
    np.testing.assert_allclose(found[0][0][0], np.clip(corners, 0, 32).ravel())
    np.testing.assert_allclose(found[1][0][0], [80, 32, 112, 96])
    padding = network.shown[0][:, 95]
    assert (padding == (200 if letterbox == "stretch" else 114)).all()
