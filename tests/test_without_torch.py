"""Without torch: what must work does, and the rest says what to install."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from recognition.inference.exported_run import FORMAT
from test_support.networks.tiny_networks import write_tiny_networks
from test_support.networks.trained_run import made_data
from test_support.videos.made_video import write_made_clip
from test_support.without_torch import ABSENT

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
# Runs commands in an interpreter in which the packages of the extra `torch` cannot be imported. Prints a line for each
# command: its exit status, its output, and the modules of these packages that are there anyway.
PROGRAM = f"""
{ABSENT}
import json
from typer.testing import CliRunner
from pipeline.cli import app

if __name__ == "__main__":
    for words in json.loads(sys.argv[1]):
        result = CliRunner().invoke(app, words)
        heavy = sorted({{"cv2", "onnxruntime", "openvino", "scipy"}} & set(sys.modules))
        failure = repr(result.exception) if not isinstance(result.exception, SystemExit | None) else ""
        print(json.dumps([result.exit_code, result.output + failure, heavy]), file=sys.__stdout__)
"""


def run(folder: Path, *commands: str) -> dict[str, tuple[int, str, list[str]]]:
    words = json.dumps([command.split() for command in commands])
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, words],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "SKELPIPE_CACHE": str(folder / "cache"), "HOME": str(folder)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return dict(zip(commands, lines, strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("without")
    write_tiny_networks(folder / "networks")
    write_made_clip(folder / "videos" / "wave" / "clip.mp4", size=(120, 160), frames=8, persons=1)
    made_data(folder / "made.pkl")
    return folder


def test_onnx_networks_and_everything_about_skeletons_work(folder: Path) -> None:
    estimator, detector = (next((folder / "networks").glob(f"tiny_{kind}*.onnx")) for kind in ("pose", "boxes"))
    networks = f"--estimator {estimator} --detector {detector} --device cpu"
    results = run(
        folder,
        "--help",
        "info",
        "models",
        f"extract videos {networks} --backend onnxruntime --out skeletons --overlay",
        f"extract videos {networks} --backend openvino --out again",
        "merge skeletons/tiny_pose --out all.pkl",
        "stats all.pkl",
        "export all.pkl openpose --out openpose",
        "import openpose openpose --fps 25 --size 160x120 --out back.pkl",
        "card everyday",
    )
    for command, (status, output, _) in results.items():
        assert status == 0, f"{command}: {output}"
    assert "torch" in results["info"][1] and "not installed" in results["info"][1]


COMMANDS = [
    "train --data made.pkl",
    "pretrain --data made.pkl",
    "sweep ablations/table4 --data made.pkl",
    "evaluate everyday --data made.pkl",
    "robustness everyday --data made.pkl",
    "predict made.pkl",
    "serve --run everyday",
    "push everyday hf://lab/gestures",
]


def test_what_needs_torch_says_so_before_anything_heavy_is_loaded(folder: Path) -> None:
    for command, (status, output, heavy) in run(folder, *COMMANDS).items():
        assert status == 1 and "needs PyTorch" in output and "pip install '.[torch]'" in output, (
            command,
            output,
        )
        assert heavy == [], command


def test_a_service_refuses_a_recognizer_in_the_format_of_torch(folder: Path) -> None:
    exported = folder / "torchscript"
    exported.mkdir()
    (exported / "model.pt").write_bytes(b"")
    labels = {"inputs": [], "data": {}, "labels": [], "layout": "coco17", "dimensions": 2, "estimator": None,
              "extraction": {}, "unknown_threshold": None, "calibration_clips": 0}  # fmt: skip
    (exported / "labels.json").write_text(json.dumps({"skelpipe_export": FORMAT, "format": "torch", **labels}))
    # The short token ends the command if nothing refuses the recognizer.
    (result,) = run(folder, f"serve --run {exported} --token short").values()
    output = " ".join(result[1].split())
    assert result[0] == 1 and "torchscript, a recognizer in the format torch, needs PyTorch" in output, output


def test_networks_that_need_torch_are_named_before_their_weights_are_downloaded(folder: Path) -> None:
    (result,) = run(folder, "extract videos").values()
    assert result[0] == 1 and "estimator vitpose needs PyTorch" in result[1]
