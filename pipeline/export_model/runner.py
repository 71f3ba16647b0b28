"""The program `run.py` of an exported recognizer: it needs NumPy and the library that runs the network."""

_PROGRAM = '''"""Classifies a clip with {model}; needs only NumPy and {library}. Usage: python run.py [CLIP.npz]"""

import json
import sys
from pathlib import Path

import numpy as np
import {module}

HERE = Path(__file__).resolve().parent
LABELS = json.loads((HERE / "labels.json").read_text(encoding="utf-8"))
{load}


def classify(keypoint, score=None, *, size=(1, 1), time=None, tracked=True):
    """Return the probabilities (K,) and the unknown score of a clip.

    keypoint (M, T, V, D): persons, frames, joints, coordinates; NaN where not seen. score (M, T, V): 0 to 1.
    size: (height, width) of the frame. time (T,): seconds. tracked: whether slots hold the same person throughout.
    """
    keypoint = np.asarray(keypoint, np.float32)
    frames = keypoint.shape[1]
    score = np.isfinite(keypoint).all(axis=-1) if score is None else score
    time = np.arange(frames) / 30 if time is None else time{shift}
    clip = dict(keypoint=keypoint, score=score, frames=frames, size=size, time=time, tracked=tracked)
    inputs = [np.asarray(clip[one["name"]], one["type"])[None] for one in LABELS["inputs"]]
    {call}
    return probabilities[0], float(unknown[0])


if __name__ == "__main__":
    clip = dict(np.load(sys.argv[1] if len(sys.argv) > 1 else HERE / "example.npz"))
    known = ("keypoint", "score", "size", "time", "tracked")
    probabilities, unknown = classify(**{{name: clip[name] for name in known if name in clip}})
    threshold = LABELS["unknown_threshold"]
    print("unknown" if threshold is not None and unknown > threshold else LABELS["labels"][int(probabilities.argmax())])
    for number in np.argsort(-probabilities):
        print(f"{{probabilities[number]:.6f}} {{LABELS['labels'][number]}}")
'''
_ONNX = {
    "model": "model.onnx",
    "library": "ONNX Runtime",
    "module": "onnxruntime",
    "load": 'SESSION = onnxruntime.InferenceSession(str(HERE / "model.onnx"), providers=["CPUExecutionProvider"])',
    "shift": "",
    "call": "probabilities, unknown = SESSION.run(None, {one['name']: value for one, value in "
    'zip(LABELS["inputs"], inputs)})',
}
_OPENVINO = {
    "model": "model.xml",
    "library": "OpenVINO",
    "module": "openvino",
    "load": 'NETWORK = openvino.Core().compile_model(HERE / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})',
    # OpenVINO computes in single precision, in which large times are too coarse.
    "shift": " - time[0]",
    "call": "probabilities, unknown = NETWORK(inputs).values()",
}
_TORCH = {
    "model": "model.pt",
    "library": "PyTorch",
    "module": "torch",
    "load": 'NETWORK = torch.jit.load(HERE / "model.pt")',
    "shift": "",
    "call": "probabilities, unknown = (value.detach().numpy() for value in NETWORK(*map(torch.from_numpy, inputs)))",
}
_KINDS = {"onnx": _ONNX, "openvino": _OPENVINO, "torch": _TORCH}


def program_for(kind: str) -> str:
    """Return the source of `run.py`, at most 40 lines.

    Args:
        kind: "onnx", "openvino" or "torch".
    """
    return _PROGRAM.format(**_KINDS[kind])
