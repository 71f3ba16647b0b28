"""ONNX files: supported networks, their YAML files, and dynamic batch sizes."""

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pose_extraction.engines.engine import Engine
from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.networks.onnx_models import detector_from_onnx, estimator_from_onnx

pytestmark = pytest.mark.processor

RUNTIME = Engine("cpu", "onnxruntime", "fp32")


def save(path: Path, nodes: list, constants: dict[str, np.ndarray], shape: list, outputs: dict[str, list]) -> Path:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def heatmap_network(path: Path, *, batch: int | str = "N", reshape: bool = False, channels: int = 17) -> Path:
    """Mean over 4x4 pixels of a weighted sum of the channels, with a reshape to a fixed batch size."""
    weight = np.random.default_rng(0).normal(size=(channels, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["sums"]),
        helper.make_node("AveragePool", ["sums"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
    ]
    constants = {"weight": weight}
    if reshape:
        constants["shape"] = np.array([1, channels, 16, 12], np.int64)
        nodes.append(helper.make_node("Reshape", ["pooled", "shape"], ["maps"]))
    else:
        nodes.append(helper.make_node("Identity", ["pooled"], ["maps"]))
    return save(path, nodes, constants, [batch, 3, 64, 48], {"maps": [batch, channels, 16, 12]})


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (count, 64, 48, 3), np.uint8)


def finished_detector(path: Path, *, classes: bool) -> Path:
    """Three boxes with scores, the same for each image, plus the mean of the image; the second is no person."""
    boxes = np.array([[[8, 4, 24, 30, 0.9], [30, 4, 40, 30, 0.8], [2, 2, 6, 9, 0.1]]], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["mean", "axis"], ["value"]),
        helper.make_node("Mul", ["value", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "boxes"], ["dets"]),
    ]
    constants = {"axis": np.array([3]), "zero": np.zeros(1, np.float32), "boxes": boxes}
    outputs: dict[str, list] = {"dets": ["N", 3, 5]}
    if classes:
        # Numbers, so that they have the batch size of the image.
        nodes += [
            helper.make_node("Squeeze", ["nothing", "axis2"], ["row"]),
            helper.make_node("Add", ["row", "kinds"], ["labels"]),
        ]
        constants |= {"axis2": np.array([2]), "kinds": np.array([[0, 7, 0]], np.float32)}
        outputs["labels"] = ["N", 3]
    return save(path, nodes, constants, ["N", 3, 64, 64], outputs)


@pytest.mark.parametrize("classes", [False, True], ids=["one class", "several classes"])
def test_detectors_that_suppress_overlaps_themselves_are_supported(tmp_path: Path, classes: bool) -> None:
    path = finished_detector(tmp_path / "end2end.onnx", classes=classes)
    detector = detector_from_onnx(path, RUNTIME, batch_size=2, score_threshold=0.3)
    # Half as large for the network: its pixels are two of the frame.
    found = detector.detect([np.zeros((128, 100, 3), np.uint8)] * 3)
    assert len(found) == 3
    expected = [[16, 8, 48, 60], [60, 8, 80, 60]][: 1 if classes else 2]
    for box, score in found:
        np.testing.assert_allclose(box, expected, atol=1e-4)
        np.testing.assert_allclose(score, [0.9, 0.8][: len(expected)], atol=1e-6)


@pytest.mark.parametrize("reshape", [False, True], ids=["free", "reshape names the batch"])
def test_a_fixed_batch_size_becomes_dynamic(tmp_path: Path, reshape: bool) -> None:
    free = estimator_from_onnx(heatmap_network(tmp_path / "a.onnx"), RUNTIME, batch_size=4, flip_test=False)
    path = heatmap_network(tmp_path / "b.onnx", batch=1, reshape=reshape)
    widened = estimator_from_onnx(path, RUNTIME, batch_size=4, flip_test=False)
    assert widened.network.batch_size == 4
    images = pictures(4)
    np.testing.assert_allclose(widened.heatmaps(images)[0], free.heatmaps(images)[0], rtol=1e-5)


def test_a_network_with_a_truly_fixed_batch_size_runs_one_by_one_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["image", "mean"], ["difference"]),
        helper.make_node("Add", ["difference", "image"], ["sum"]),
        helper.make_node("Conv", ["sum", "weight"], ["maps"], strides=[4, 4]),
    ]
    constants = {"weight": np.ones((17, 3, 1, 1), np.float32)}
    path = save(tmp_path / "mixer.onnx", nodes, constants, [1, 3, 64, 48], {"maps": [1, 17, 16, 12]})
    with caplog.at_level(logging.WARNING):
        estimator = estimator_from_onnx(path, RUNTIME, batch_size=4, flip_test=True)
    assert estimator.network.batch_size == 1
    assert "mixer.onnx" in caplog.text
    assert estimator.heatmaps(pictures(3))[0].shape == (3, 17, 16, 12)


def test_simcc_is_detected_by_its_outputs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["sums"]),
        helper.make_node("ReduceMax", ["sums"], ["across"], axes=[2], keepdims=0),
        helper.make_node("ReduceMax", ["sums"], ["along"], axes=[3], keepdims=0),
    ]
    weight = {"weight": np.ones((17, 3, 1, 1), np.float32)}
    shapes = {"across": ["N", 17, 48], "along": ["N", 17, 64]}
    path = save(tmp_path / "simcc.onnx", nodes, weight, ["N", 3, 64, 48], shapes)
    estimator = estimator_from_onnx(path, RUNTIME, batch_size=2, flip_test=True)
    assert (estimator.spec.codec, estimator.spec.split_ratio) == ("simcc", 1.0)
    image = np.zeros((64, 48, 3), np.uint8)
    image[20, 30] = 255
    crops = estimator.crop(image, np.array([[4.8, 6.4, 43.2, 57.6]]))
    keypoint, _ = estimator.estimate(crops)
    np.testing.assert_allclose(keypoint[0, 0], [30, 20], atol=1)


def test_scores_above_one_are_divided_by_their_scale(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = heatmap_network(tmp_path / "own.onnx")
    outputs = [np.zeros((1, 17, 16, 12), np.float32)]
    outputs[0][0, np.arange(17), 8, 6] = np.linspace(4, 8, 17)
    place = np.array([[24.0, 32.0]], np.float32), np.array([[48.0, 64.0]], np.float32)
    estimator = estimator_from_onnx(path, RUNTIME, batch_size=2, flip_test=False)
    for _ in range(2):
        assert (estimator.decode(outputs, *place)[1] == 1).all()
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "100 % of the scores exceed 1 (the largest is 8), and are stored as 1; set score_scale"
    )
    caplog.clear()
    path.with_suffix(".yaml").write_text("score_scale: 8\n")
    estimator = estimator_from_onnx(path, RUNTIME, batch_size=2, flip_test=False)
    np.testing.assert_allclose(estimator.decode(outputs, *place)[1][0], np.linspace(0.5, 1, 17), rtol=1e-6)
    assert not caplog.records
    path.with_suffix(".yaml").write_text("score_scale: 0\n")
    with pytest.raises(UsageError, match="score_scale: Input should be greater than 0"):
        estimator_from_onnx(path, RUNTIME, batch_size=2, flip_test=False)


def test_settings_in_the_yaml_file_are_used(tmp_path: Path) -> None:
    path = heatmap_network(tmp_path / "own.onnx", channels=20)
    joints = [19, *range(1, 17)]
    path.with_suffix(".yaml").write_text(
        f"colour: bgr\nmean: [10, 20, 30]\nstd: [2, 2, 2]\nbox_scale: 1.5\ncodec: udp\njoints: {joints}\n"
    )
    estimator = estimator_from_onnx(path, RUNTIME, batch_size=2, flip_test=False)
    assert (estimator.spec.codec, estimator.spec.box_scale, estimator.spec.shift_flipped) == ("udp", 1.5, False)
    images = pictures(2)
    weight = np.random.default_rng(0).normal(size=(20, 3))
    planes = (images.astype(np.float64) - [10, 20, 30]) / 2
    expected = (planes @ weight.T).reshape(2, 16, 4, 12, 4, 20).mean((2, 4)).transpose(0, 3, 1, 2)[:, joints]
    np.testing.assert_allclose(estimator.heatmaps(images)[0], expected, rtol=1e-4, atol=1e-3)


def test_backends_agree(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the OpenVINO extra is not installed")
    path = heatmap_network(tmp_path / "a.onnx", batch=1, reshape=True)
    images = pictures(3)
    outputs = [
        estimator_from_onnx(path, Engine("cpu", backend, "fp32"), batch_size=2, flip_test=True).heatmaps(images)[0]
        for backend in ("onnxruntime", "openvino")
    ]
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [("color: rgb\n", "color"), ("mean: [1, 2]\n", "mean"), ("joints: [1, 2]\n", "joints"), ("colour: [\n", "YAML")],
)
def test_invalid_yaml_files_are_refused_by_name(tmp_path: Path, yaml: str, message: str) -> None:
    path = heatmap_network(tmp_path / "own.onnx")
    path.with_suffix(".yaml").write_text(yaml)
    with pytest.raises(UsageError, match=rf"own\.yaml.*{message}"):
        estimator_from_onnx(path, RUNTIME, batch_size=2, flip_test=False)


def test_unsupported_networks_are_refused(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"not a network")
    with pytest.raises(WeightsError, match=r"garbage\.onnx"):
        estimator_from_onnx(garbage, RUNTIME, batch_size=2, flip_test=False)
    with pytest.raises(WeightsError, match="26 joints"):
        path = heatmap_network(tmp_path / "halpe.onnx", channels=26)
        estimator_from_onnx(path, RUNTIME, batch_size=2, flip_test=False)
    with pytest.raises(WeightsError, match="YOLOX"):
        path = heatmap_network(tmp_path / "pose.onnx")
        detector_from_onnx(path, RUNTIME, batch_size=2, score_threshold=0.3)
    with pytest.raises(WeightsError, match=r"missing\.onnx"):
        estimator_from_onnx(tmp_path / "missing.onnx", RUNTIME, batch_size=2, flip_test=False)


def test_real_networks_agree_across_backends(shared_data: Path) -> None:
    """Real detector and estimator with dynamic batches: the same result on OpenVINO and ONNX Runtime."""
    pytest.importorskip("openvino", reason="the OpenVINO extra is not installed")
    from pose_extraction.video.reader import VideoReader

    with VideoReader(shared_data / "videos/clips/mmaction2/demo_skeleton.mp4", end=0.1) as reader:
        frames = [frame.image for frame in reader]
    results = []
    for backend in ("openvino", "onnxruntime"):
        engine = Engine("cpu", backend, "fp32")
        weights = shared_data / "weights"
        detector = detector_from_onnx(weights / "yolox_nano.onnx", engine, batch_size=2, score_threshold=0.3)
        estimator = estimator_from_onnx(
            weights / "simplepose_coco17_256x192.onnx", engine, batch_size=4, flip_test=True
        )
        found = detector.detect(frames)
        assert [len(box) for box, _ in found] == [2] * len(frames)
        results.append(
            [estimator.estimate(estimator.crop(frame, box)) for frame, (box, _) in zip(frames, found, strict=True)]
        )
    for (first, _), (second, _) in zip(*results, strict=True):
        assert np.abs(first - second).max() < 3, "a quarter-cell sign may flip; more means another picture was read"
        assert np.median(np.abs(first - second)) < 0.05
