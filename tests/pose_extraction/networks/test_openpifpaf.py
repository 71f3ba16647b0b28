"""OpenPifPaf: decoding of known poses, order and size of frames, and no changes of global state."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import BackendError, UsageError, WeightsError
from pose_extraction.networks.composite_fields import (
    CAF_CHANNELS,
    CIF_CHANNELS,
    CompositeFieldDecoder,
    activate,
    load_library,
)
from pose_extraction.networks.openpifpaf import Letterbox, OpenPifPafEstimator, prepare
from pose_extraction.networks.openpifpaf_network import build_network, network_forward
from test_support.installed import openpifpaf_or_skip

pytestmark = pytest.mark.processor

STRIDE = 8


@pytest.fixture(scope="module")
def library():
    return openpifpaf_or_skip()


def poses_of_four(library, height: int, width: int) -> np.ndarray:
    """Four people, (4, 17, 3) as x, y, visibility: upright, arms raised, legs not visible, face not visible."""
    constants = library.plugins.coco.constants
    poses = []
    for index, template in enumerate(
        [constants.COCO_UPRIGHT_POSE, constants.COCO_DAVINCI_POSE, constants.COCO_UPRIGHT_POSE] * 2
    ):
        pose = np.array(template, np.float64)
        pose[:, 1] = pose[:, 1].max() - pose[:, 1]
        unit = 0.045 * min(height, width) * (1 + 0.15 * index)
        pose[:, :2] = pose[:, :2] * unit + [width * (0.14 + 0.24 * index), height * (0.08 + 0.06 * (index % 2))]
        poses.append(pose)
    poses[2][13:] = 0
    poses[3][:5] = 0
    return np.array(poses[:4])


def raw_fields(library, poses: np.ndarray, letterbox: Letterbox, size: tuple[int, int]) -> list[np.ndarray]:
    """Output of a perfect network: openpifpaf's training targets with inverted activations.

    Args:
        library: openpifpaf.
        poses: (M, 17, 3) in pixels of the frame.
        letterbox: Position of the frame in the input.
        size: (height, width) of the input in pixels.
    """
    annotations = []
    for pose in poses:
        keypoints = pose.copy()
        keypoints[:, :2] = (keypoints[:, :2] + 0.5) * letterbox.scale - 0.5 + letterbox.offset
        seen = keypoints[keypoints[:, 2] > 0, :2]
        box = np.concatenate([seen.min(0), seen.max(0) - seen.min(0)])
        annotations.append({"keypoints": keypoints.astype(np.float32), "bbox": box, "iscrowd": False})
    cif_meta, caf_meta = library.plugins.coco.CocoKp(upsample_stride=2).head_metas
    cif_meta.base_stride = caf_meta.base_stride = 2 * STRIDE
    image = torch.zeros(3, *size)
    cif = library.encoder.Cif(cif_meta)(image, annotations, {}).numpy()  # confidence, x, y, width, scale
    caf = library.encoder.Caf(caf_meta)(image, annotations, {}).numpy()  # confidence, 4 places, 2 widths, 2 scales
    fields = []
    for target, ends in ((cif, 1), (caf, 2)):
        confidence, place, scale = target[:, :1], target[:, 1 : 1 + 2 * ends], target[:, -ends:]
        logit = np.where(confidence == 1, 8.0, -8.0)
        before_softplus = np.log(np.expm1(np.nan_to_num(scale, nan=1.0)))
        fields.append(np.concatenate([np.zeros_like(logit), logit, np.nan_to_num(place), before_softplus], 1))
    return [field.astype(np.float32) for field in fields]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "long_edge"),
    [((720, 1280), 641), ((1100, 700), 630), ((300, 400), 641)],
    ids=["landscape", "portrait padded on every side", "enlarged"],
)
def test_encoded_poses_are_decoded(library, size, long_edge):
    frame = np.zeros((*size, 3), np.uint8)
    poses = poses_of_four(library, *size)
    seen = poses[..., 2] > 0

    def forward(inputs: np.ndarray) -> list[np.ndarray]:
        fields = raw_fields(library, poses, prepare(frame, long_edge)[1], inputs.shape[2:])
        return [np.repeat(field[None], len(inputs), 0) for field in fields]

    [(box, box_score, keypoint, score)] = OpenPifPafEstimator(forward=forward, long_edge=long_edge).estimate([frame])

    assert keypoint.shape == (4, 17, 2)
    order = np.nanmean(keypoint[..., 0], 1).argsort()
    assert (np.isnan(keypoint[order]).all(-1) == ~seen).all()
    assert (score[order] == 0).tolist() == (~seen).tolist()
    assert score[order][seen].min() > 0.5
    distance = np.linalg.norm(keypoint[order] - poses[..., :2], axis=-1)
    assert distance[seen].max() < 1.0
    assert (np.diff(box_score) <= 0).all() and box_score.min() > 0.5 and box_score.max() <= 1
    low, high = np.nanmin(keypoint, 1), np.nanmax(keypoint, 1)
    assert (box[:, :2] < low).all() and (box[:, 2:] > high).all()
    assert {array.dtype for array in (box, box_score, keypoint, score)} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("size", "long_edge"), [((720, 1280), 641), ((1100, 700), 630), ((90, 120), 641)])
def test_the_letterbox_matches_the_resized_pixels(size, long_edge):
    """The position of a bright spot shows whether the letterbox describes the actual transform of the pixels."""
    for x, y in ((17, 19), (size[1] - 18, size[0] - 20), (size[1] // 2, size[0] // 3)):
        frame = np.full((*size, 3), (104, 116, 124), np.float32)
        frame[y, x] = 20000
        frame = np.clip(cv2.GaussianBlur(frame, (0, 0), 5), 0, 255).astype(np.uint8)
        prepared, letterbox = prepare(frame, long_edge)
        assert all(edge % 16 == 1 for edge in prepared.shape[1:])
        weight = np.clip(prepared[0] - 0.1, 0, None)
        rows, columns = np.indices(weight.shape)
        centre = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        assert letterbox.to_frame(centre) == pytest.approx([x, y], abs=0.15)


def test_input_is_normalised_rgb():
    frame = np.zeros((32, 32, 3), np.uint8)
    frame[..., 2] = 255
    prepared, _ = prepare(frame, 33)
    assert prepared.dtype == np.float32
    assert prepared[:, 16, 16] == pytest.approx([(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225], abs=1e-5)


@pytest.mark.parametrize("upsample", [1, 2])
def test_network_and_activations_equal_openpifpaf(library, upsample):
    """Compare `RawFields` and `activate` with the library's network in evaluation mode, with the same weights."""
    head_metas = library.plugins.coco.CocoKp(upsample_stride=upsample).head_metas
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        shell, _ = library.network.Factory(base_name="shufflenetv2k16").factory(head_metas=head_metas)
        image = torch.randn(2, 3, 65, 97)
    for head in shell.head_nets:
        head.conv.weight.data *= 300  # Values far from zero, where activations are nonlinear.
    with torch.inference_mode():
        raw = build_network(state_dict=shell.state_dict())(image)
        expected = shell(image)
    assert [tuple(field.shape[1:3]) for field in raw] == [(17, CIF_CHANNELS), (19, CAF_CHANNELS)]
    for ours, theirs in zip(raw, expected, strict=True):
        for row in range(2):
            np.testing.assert_allclose(activate(ours[row].numpy()), theirs[row].numpy(), rtol=1e-5, atol=1e-5)


def excited_weights(name: str) -> dict[str, torch.Tensor]:
    """Random weights with which the decoder finds (meaningless) persons in any image."""
    state = build_network(name, seed=1).shell.state_dict()
    for head, channels, ends in ((0, CIF_CHANNELS, 1), (1, CAF_CHANNELS, 2)):
        state[f"head_nets.{head}.conv.weight"] *= 100
        bias = state[f"head_nets.{head}.conv.bias"].view(-1, channels, 4)
        bias[:, 1] += 1
        bias[:, -ends:] += 4
    return state


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shufflenetv2k16", "shufflenetv2k30"])
def test_random_networks_run_end_to_end(library, name):
    frames = [np.random.default_rng(0).integers(0, 255, size, np.uint8) for size in [(120, 160, 3), (1, 90, 3)]]
    for weights in (None, excited_weights(name)):
        estimator = OpenPifPafEstimator(name, state_dict=weights, long_edge=129, batch_size=1)
        for box, box_score, keypoint, score in estimator.estimate(frames):
            persons = len(box)
            assert (box.shape, box_score.shape) == ((persons, 4), (persons,))
            assert (keypoint.shape, score.shape) == ((persons, 17, 2), (persons, 17))
            assert (np.isnan(keypoint).any(-1) == (score == 0)).all()
            assert np.isfinite(box).all()


@pytest.mark.slow
def test_the_result_of_a_frame_does_not_depend_on_the_other_frames(library):
    random = np.random.default_rng(0)
    frames = [
        random.integers(0, 255, size, np.uint8)
        for size in [(200, 260, 3), (90, 200, 3), (200, 260, 3), (300, 220, 3), (200, 260, 3), (90, 200, 3)]
    ]
    estimator = OpenPifPafEstimator(
        state_dict=excited_weights("shufflenetv2k16"), long_edge=161, batch_size=2, decoder_threads=2
    )
    together = estimator.estimate(frames)
    assert all(len(box) for box, *_ in together)
    for frame, expected in zip(frames, together, strict=True):
        for ours, theirs in zip(estimator.estimate([frame])[0], expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert estimator.estimate([]) == []


def test_weights_depend_on_the_seed_and_the_global_random_state_is_kept(library):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (build_network(seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    key = "shell.head_nets.0.conv.weight"
    assert torch.equal(first[key], again[key])
    assert not torch.equal(first[key], other[key])


@pytest.mark.slow
def test_openvino_computes_the_same_fields(library):
    pytest.importorskip("openvino", reason="OpenVINO is an extra and not installed here")
    network = build_network()
    inputs = np.random.default_rng(0).normal(size=(2, 3, 81, 97)).astype(np.float32)
    on_torch = network_forward(network, Engine("cpu", "torch", "fp32"))(inputs)
    on_openvino = network_forward(network, Engine("cpu", "openvino", "fp32"))
    for size in (81, 49):  # One compiled network accepts inputs of any size.
        shapes = [field.shape for field in on_openvino(inputs[:, :, :size])]
        assert shapes == [(2, 17, 5, size // 8 + 1, 13), (2, 19, 8, size // 8 + 1, 13)]
    for ours, theirs in zip(on_openvino(inputs), on_torch, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_changed_decoder_settings_are_restored(library):
    library.decoder.utils.CifSeeds.set_threshold(2.0)
    torch.classes.openpifpaf_decoder.CifCaf.set_force_complete(True)
    letterbox = Letterbox(np.ones(2), np.zeros(2))
    fields = raw_fields(library, poses_of_four(library, 369, 641), letterbox, (369, 641))
    decoded = CompositeFieldDecoder()(*fields, stride=STRIDE)
    assert np.isnan(decoded.point[..., 0]).sum() == 4 + 5


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "'head_nets.0.conv.weight' is missing among its 0 tensors"),
        ({"head_nets.0.conv.weight": torch.zeros(66 * 5, 8, 1, 1)}, "330 channels"),
        ({"head_nets.0.conv.weight": torch.zeros(85, 8, 1, 1)}, "does not match openpifpaf's shufflenetv2k16"),
    ],
    ids=["another network", "another set of joints", "another size"],
)
def test_incompatible_weights_are_refused(library, weights, message):
    with pytest.raises(WeightsError, match=message):
        build_network(state_dict=weights)


def test_invalid_settings_are_refused(library):
    with pytest.raises(UsageError, match=r"resnet50.*shufflenetv2k16, shufflenetv2k30"):
        build_network("resnet50")
    with pytest.raises(UsageError, match="long edge 16"):
        OpenPifPafEstimator(long_edge=16)
    with pytest.raises(BackendError, match="onnxruntime does not support openpifpaf"):
        OpenPifPafEstimator(engine=Engine("cpu", "onnxruntime", "fp32"))


def test_the_error_without_openpifpaf_explains_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "openpifpaf", None)
    with pytest.raises(BackendError, match=r"docs/installation\.md#openpifpaf"):
        load_library()


@pytest.mark.slow
def test_importing_the_estimator_does_not_import_the_agpl_library():
    code = (
        "import sys, pose_extraction.networks.openpifpaf; "
        "sys.exit(any(m.split('.')[0] == 'openpifpaf' for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
