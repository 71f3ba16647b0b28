"""Size and speed of recognizers in the sizes of the papers as ONNX files, next to torch, with random weights.

    taskset -c 0 python benchmarks/exported_models.py --clips 8 --rounds 3

Prints for each recognizer the size of its ONNX file, also with 8-bit weights; the largest difference of a probability
from torch; the clips with the same answer; and the processor time per clip, one by one and in batches: the median of
the rounds, in which torch, ONNX Runtime, 8-bit weights and OpenVINO alternate, and the median of the ratios to torch.
Clips are random walks of one person, with two seconds at 25 frames per second. `exported_speed.py` measures runs that
were trained, `exported_networks.py` the networks of stage one.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.exported_speed import alternating, made_clips, median_ratio
from pipeline.config import read_config
from pipeline.export_model.quantising import write_in_8_bits
from pipeline.export_model.workflow import ROUNDING
from pose_extraction.engines.engine import Engine
from pose_extraction.engines.openvino_core import openvino_core
from recognition.data.clip import Clip
from recognition.exporting.files import input_names, onnx_of, write_openvino
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
MAMP_NAME = "MAMP, fine-tuned"
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


def openvino_of(content: bytes, path: Path) -> Classify:
    write_openvino(content, path)
    network = openvino_core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = input_names(content)

    def classify(clips: Sequence[Clip]) -> np.ndarray:
        given = dict(zip(INPUTS, arrays_of(clips), strict=True))
        return np.asarray(network([given[name] for name in names])[0])

    return classify


def measure(name: str, data: dict[str, Any], model: dict[str, Any], form: dict[str, Any], options: Any) -> None:
    trained = made_trained(data, model, **form)
    predictor = Predictor(trained, Engine("cpu", "torch", "fp32", options.batch))
    clips = made_clips(options.clips, 25 if form else 17, 3 if form else 2)
    with tempfile.TemporaryDirectory() as folder:
        path, small = Path(folder) / "model.onnx", Path(folder) / "small.onnx"
        path.write_bytes(onnx_of(ClipsToActions(trained)))
        small.write_bytes(path.read_bytes())
        write_in_8_bits(small)
        rounded = onnx_of(ClipsToActions(trained, rounding=ROUNDING["openvino"]))
        sizes = [file.stat().st_size / 2**20 for file in (path, small)]
        subjects: dict[str, Classify] = {
            "torch": lambda clips: predictor.classify(list(clips)).probabilities,
            "onnx": session_of(path),
            "8 bits": session_of(small),
            "openvino": openvino_of(rounded, Path(folder) / "model.xml"),
        }
    answers = {key: np.concatenate([classify([clip]) for clip in clips]) for key, classify in subjects.items()}
    print(f"{name}: {sizes[0]:.1f} MiB, 8 bits {sizes[1]:.1f} MiB", flush=True)
    for key in (*subjects,)[1:]:
        same = int((answers[key].argmax(axis=1) == answers["torch"].argmax(axis=1)).sum())
        print(f"  {key}: difference {np.abs(answers[key] - answers['torch']).max():.0e}, {same} of {len(clips)} agree")
    for batch in sorted({1, options.batch}):
        times = alternating(subjects, clips, batch, options.rounds)
        for key, spent in times.items():
            print(
                f"  batch {batch}  {key:8s} {statistics.median(spent) * 1e3:8.1f} ms per clip, "
                f"{median_ratio(spent, times['torch']):.2f} of torch",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recognizers", nargs="*", default=[*CONFIGS, MAMP_NAME], help=", ".join([*CONFIGS, MAMP_NAME]))
    parser.add_argument("--clips", type=int, default=8, help="clips of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="clips per batch (default: %(default)s)")
    options = parser.parse_args()
    for name in options.recognizers:
        if name == MAMP_NAME:
            measure(name, *MAMP, KINECT, options)
        else:
            values = read_config(CONFIGS[name], RunSettings)
            measure(name, values["data"], values["model"], {}, options)


if __name__ == "__main__":
    main()
