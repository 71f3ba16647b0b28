"""Networks with a few hundred parameters that detect and measure the synthetic figures within milliseconds.

The head of a synthetic figure is the only part of a clip that is redder than blue. The detector searches for it in the
top row of its cells; the estimator expects each joint at its position in a standing figure and derives the score from
the colours there, so that its output depends on every pixel of a crop.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from test_support.videos.made_video import STANDING

# Input of the detector: height, width and pixels per cell.
DETECTOR_SIZE, CELL = (64, 96), 16
# Input of the estimator, and cells of its heat maps: height, width.
CROP_SIZE, MAP_SIZE = (64, 48), (16, 12)


def write_tiny_networks(folder: Path) -> tuple[Path, Path]:
    """Write `tiny_pose.onnx` and `tiny_boxes.onnx` with their metadata; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_tiny_estimator(folder / "tiny_pose.onnx"), write_tiny_detector(folder / "tiny_boxes.onnx")


def write_tiny_estimator(path: Path, seed: int = 0) -> Path:
    """Write a heat-map network, RGB (N, 3, 64, 48) -> (N, 17, 16, 12); the weights depend on the seed."""
    colours = np.random.default_rng(seed).normal(size=(17, 3, 1, 1)).astype(np.float32) / 128
    rows, columns = np.mgrid[: MAP_SIZE[0], : MAP_SIZE[1]]
    # A detected box is as tall as a figure, and crops are 1.25 times the box.
    x = MAP_SIZE[1] * (0.5 + STANDING[:, 0] / 1.25 * CROP_SIZE[0] / CROP_SIZE[1])
    y = MAP_SIZE[0] * (0.5 + STANDING[:, 1] / 1.25)
    squared = (columns - x[:, None, None] + 0.5) ** 2 + (rows - y[:, None, None] + 0.5) ** 2
    nodes = [
        helper.make_node("Conv", ["image", "colours"], ["tinted"]),
        helper.make_node("AveragePool", ["tinted"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Sigmoid", ["pooled"], ["sure"]),
        helper.make_node("Mul", ["sure", "expected"], ["heatmaps"]),
    ]
    constants = {"colours": colours, "expected": np.exp(-squared / 4)[None].astype(np.float32)}
    path.with_suffix(".yaml").write_text("mean: [128, 128, 128]\nstd: [1, 1, 1]\n")
    return _write(path, nodes, constants, ["N", 3, *CROP_SIZE], "heatmaps", ["N", 17, *MAP_SIZE])


def write_tiny_detector(path: Path) -> Path:
    """Write a YOLOX-like network for one image, BGR (1, 3, 64, 96) -> (1, 24, 6), with undecoded grid."""
    height, width = DETECTOR_SIZE
    cells = height // CELL, width // CELL
    redder = np.array([-1, 0, 1], np.float32).reshape(1, 3, 1, 1)
    # For a cell and its left and right neighbours: amount of red, and its centre in cells.
    across = (np.arange(3 * CELL, dtype=np.float32) + 0.5 - CELL) / CELL
    window = np.stack([np.ones((CELL, 3 * CELL)), np.tile(across, (CELL, 1))])[:, None].astype(np.float32)
    top_row = np.zeros((1, 1, *cells), np.float32)
    top_row[:, :, 0] = 1
    # Centre at half the frame's height, and a figure's extent, in YOLOX's format: in cells, the extent as a logarithm.
    geometry = np.broadcast_to(np.array([2.0, np.log(1.6), np.log(3.2)], np.float32)[:, None, None], (3, *cells))
    nodes = [
        helper.make_node("Conv", ["image", "redder"], ["difference"]),
        helper.make_node("Relu", ["difference"], ["red"]),
        helper.make_node("Conv", ["red", "window"], ["sums"], strides=[CELL, CELL], pads=[0, CELL, 0, CELL]),
        helper.make_node("Split", ["sums"], ["mass", "moment"], axis=1, num_outputs=2),
        helper.make_node("Add", ["mass", "little"], ["safe_mass"]),
        helper.make_node("Div", ["moment", "safe_mass"], ["x"]),
        helper.make_node("Div", ["mass", "full_mass"], ["share"]),
        helper.make_node("Clip", ["share", "zero", "one"], ["score"]),
        helper.make_node("Mul", ["score", "top_row"], ["objectness"]),
        # Constants with the batch size.
        helper.make_node("Mul", ["mass", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "geometry"], ["size"]),
        helper.make_node("Add", ["nothing", "one"], ["certain"]),
        helper.make_node("Concat", ["x", "size", "objectness", "certain"], ["planes"], axis=1),
        helper.make_node("Reshape", ["planes", "flat"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["boxes"], perm=[0, 2, 1]),
    ]
    constants: dict[str, np.ndarray] = {
        "redder": redder,
        "window": window,
        "top_row": top_row,
        "geometry": np.ascontiguousarray(geometry[None]),
        "little": np.asarray(1e-3, np.float32),
        "full_mass": np.asarray(4000, np.float32),
        "zero": np.asarray(0, np.float32),
        "one": np.asarray(1, np.float32),
        "flat": np.array([1, 6, cells[0] * cells[1]], np.int64),
    }
    path.with_suffix(".yaml").write_text(f"strides: [{CELL}]\nnms_iou: 0.3\n")
    return _write(path, nodes, constants, [1, 3, height, width], "boxes", [1, cells[0] * cells[1], 6])


def write_blind_detector(path: Path) -> Path:
    """Write a detector that finds one person in the centre of every 3:4 image, independent of its content."""
    height, width = DETECTOR_SIZE
    cells = np.zeros((1, height // CELL * (width // CELL), 6), np.float32)
    # The centre is in the third cell of the third row; the extent, as a logarithm, is most of the height.
    cells[0, 2 * (width // CELL) + 2] = (0.65, 0.0, np.log(1.9), np.log(3.4), 1, 1)
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "cells"], ["boxes"]),
    ]
    path.with_suffix(".yaml").write_text(f"strides: [{CELL}]\nnms_iou: 0.3\n")
    return _write(
        path, nodes, {"zero": np.asarray(0, np.float32), "cells": cells}, [1, 3, height, width], "boxes", [*cells.shape]
    )


def _write(path: Path, nodes: list, constants: dict[str, np.ndarray], given: list, output: str, made: list) -> Path:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, made)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
