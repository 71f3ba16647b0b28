"""Size and speed of recognizers in the sizes of the papers as ONNX files, next to torch, with random weights.

    python benchmarks/exported_models.py --clips 6 --rounds 3

Prints for each recognizer the size of its ONNX file, also with 8-bit weights; the largest difference of a probability
from torch; and the processor time per clip, the median of the rounds, in which torch, ONNX Runtime and 8-bit weights
alternate. Clips are random walks of one person, with two seconds at 25 frames per second. `exported_speed.py` measures
runs that were trained, in batches as well.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.exported_speed import made_clips
from pipeline.config import read_config
from pipeline.export_model.quantising import write_in_8_bits
from pose_extraction.engines.engine import Engine
from recognition.data.clip import Clip
from recognition.exporting.files import input_names, onnx_of
from recognition.exporting.graph import ClipsToActions
from recognition.inference.arrays import arrays_of
from recognition.inference.exported import INPUTS
from recognition.inference.predictor import Predictor
from recognition.settings import RunSettings
from test_support.networks.exportable_runs import made_trained

KINECT = {"layout": "ntu25", "dimensions": 3}
CONFIGS = {
    "MaskCLR, DSTFormer": "maskclr/ntu60_xsub_dstformer",
    "ST-GCN++": "baselines/stgcnpp",
    "CTR-GCN": "baselines/ctrgcn",
    "PoseConv3D": "baselines/poseconv3d",
}
# The encoder of MAMP with a head, as after fine-tuning.
MAMP: tuple[dict[str, Any], dict[str, Any]] = (
    {"num_frames": 120, "max_frames": 120, "resample": "linear", "part_test": 0.9, "placement": "first_frame"},
    {"backbone": "segments", "dim": 256, "depth": 8, "heads": 8, "hidden": 2048, "max_frames": 120},
)
Classify = Callable[[Sequence[Clip]], np.ndarray]


def session_of(path: Path) -> Classify:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = input_names(path.read_bytes())

    def classify(clips: Sequence[Clip]) -> np.ndarray:
        given = dict(zip(INPUTS, arrays_of(clips), strict=True))
        return np.asarray(session.run(["probabilities"], {name: given[name] for name in names})[0])

    return classify


def measure(name: str, data: dict[str, Any], model: dict[str, Any], form: dict[str, Any], options: Any) -> None:
    trained = made_trained(data, model, **form)
    predictor = Predictor(trained, Engine("cpu", "torch", "fp32"))
    clips = made_clips(options.clips, 25 if form else 17, 3 if form else 2)
    with tempfile.TemporaryDirectory() as folder:
        path, small = Path(folder) / "model.onnx", Path(folder) / "small.onnx"
        path.write_bytes(onnx_of(ClipsToActions(trained)))
        small.write_bytes(path.read_bytes())
        write_in_8_bits(small)
        sizes = [file.stat().st_size / 2**20 for file in (path, small)]
        subjects: dict[str, Classify] = {
            "torch": lambda clips: predictor.classify(list(clips)).probabilities,
            "onnx": session_of(path),
            "8 bits": session_of(small),
        }
    answers = {key: np.concatenate([classify([clip]) for clip in clips]) for key, classify in subjects.items()}
    times: dict[str, list[float]] = {key: [] for key in subjects}
    for _ in range(options.rounds):
        for key, classify in subjects.items():
            began = time.process_time()
            for clip in clips:
                classify([clip])
            times[key].append((time.process_time() - began) / len(clips) * 1e3)
    differences = [float(np.abs(answers[key] - answers["torch"]).max()) for key in ("onnx", "8 bits")]
    milliseconds = [statistics.median(times[key]) for key in subjects]
    print(
        f"{name:20s} {sizes[0]:6.1f} MiB, 8 bits {sizes[1]:6.1f} MiB; difference {differences[0]:.0e}, 8 bits "
        f"{differences[1]:.0e}; ms per clip: torch {milliseconds[0]:.1f}, ONNX Runtime {milliseconds[1]:.1f}, 8 bits "
        f"{milliseconds[2]:.1f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for name, config in CONFIGS.items():
        values = read_config(config, RunSettings)
        measure(name, values["data"], values["model"], {}, options)
    measure("MAMP, fine-tuned", *MAMP, KINECT, options)


if __name__ == "__main__":
    main()
