"""Wrong usage is reported at once: before torch and the other libraries that take seconds to import."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "ray",
    *("torch", "torchvision", "lightning_fabric", "sympy", "scipy", "sklearn", "matplotlib"),
    *("cv2", "av", "mmpose", "mmengine", "onnxruntime", "openvino"),
}
# Runs each command in a fork of an interpreter that has loaded the command line only. Prints a line for each: its exit
# status, its errors, which of these libraries it has imported, and how its threads would wait.
PROGRAM = f"""
import json, os, sys, tempfile
from pipeline.cli import main

def run(command):
    sys.argv = ["skelpipe", *command.split()]
    code = None
    try:
        main()
    except SystemExit as end:
        code = end.code
    return [code, sorted({HEAVY!r} & {{name.partition(".")[0] for name in sys.modules}}), os.environ["OMP_WAIT_POLICY"]]

for command in sys.argv[1:]:
    with tempfile.TemporaryFile("w+") as errors, tempfile.TemporaryFile("w+") as result:
        child = os.fork()
        if child == 0:
            os.dup2(errors.fileno(), 2)
            try:
                json.dump(run(command), result)
                result.flush()
            finally:
                sys.stderr.flush()
                os._exit(0)
        os.waitpid(child, 0)
        errors.seek(0), result.seek(0)
        print(json.dumps([errors.read(), result.read()]))
"""
NO_FILE, NO_RUN = "no skeleton file skeletons/*.pkl", "no run in runs/"
EVERYDAY_IS_MEANT = "did you mean everyday, a recognizer of the package?"
CASES = {
    # In an empty folder.
    "train": (2, NO_FILE),
    "pretrain": (2, NO_FILE),
    "sweep ablations/table4": (2, NO_FILE),
    "sweep ablations/mamp_ratio": (2, NO_FILE),
    "evaluate": (2, NO_RUN),
    "evaluate --protocol linear": (2, NO_RUN),
    "train --resume": (2, NO_RUN),
    "pretrain --resume": (2, NO_RUN),
    # A missing argument.
    "extract": (2, "Missing argument"),
    "robustness": (2, "Missing argument"),
    "sweep": (2, "Missing argument"),
    "predict": (2, "Missing argument"),
    # A missing file.
    "extract nosuch.mp4": (2, "nosuch.mp4: no such file or folder"),
    "predict nosuch.mp4": (2, "nosuch.mp4: no such file or folder"),
    "predict nosuch.pkl": (2, "nosuch.pkl: file not found"),
    "predict clips/clip.mp4 --run nosuch": (1, "nosuch: no such run"),
    "predict clips/clip.mp4 --run everyda": (1, f"everyda: no such run; {EVERYDAY_IS_MEANT}"),
    "predict clips/clip.mp4 --run runs/everyda": (1, f"runs/everyda: no such run; {EVERYDAY_IS_MEANT}"),
    "predict clips/clip.mp4 --run somewhere/everyda": (1, "somewhere/everyda: no such run; pass a directory of"),
    "train --data nosuch.pkl": (1, "nosuch.pkl: cannot be read"),
    "train --data data.pkl --init nosuch": (1, "nosuch: no such run"),
    "train --data data.pkl --init everyda": (1, f"everyda: no such run; {EVERYDAY_IS_MEANT}"),
    "train --data data.pkl --init bsae": (1, "did you mean base, initial weights for `skelpipe train --init`?"),
    "train --resume nosuch": (1, "nosuch: no such run"),
    "pretrain --data nosuch.pkl": (1, "nosuch.pkl: cannot be read"),
    "sweep ablations/table4 --data nosuch.pkl": (1, "nosuch.pkl: cannot be read"),
    "evaluate nosuch": (1, "nosuch: no such run"),
    "evaluate nosuch --protocol linear": (1, "nosuch: no such run"),
    "robustness nosuch": (1, "nosuch: no such run"),
    "robustness method=nosuch": (1, "nosuch: no such run"),
    "merge nosuch": (2, "nosuch: no such file or folder"),
    "stats nosuch.pkl": (2, "nosuch.pkl: no such file or folder"),
    "label nosuch.pkl --labels labels.csv": (1, "nosuch.pkl: cannot be read"),
    "label data.pkl --labels nosuch.csv": (1, "nosuch.csv: cannot read the file"),
    "extract clips --labels nosuch.csv": (2, "--labels nosuch.csv: must be auto, none or an existing CSV file"),
    "convert ntu nosuch": (2, "nosuch: contains no *.skeleton files"),
    # An unknown setting, name or option.
    "train training.epoch=3": (2, "unknown setting 'training.epoch'"),
    "train training.lr=3": (2, "unknown setting 'training.lr'; training has "),
    "train nosuch=3": (2, "unknown setting 'nosuch'; there are out, init, data..., model..."),
    "train nosuch": (2, "unknown config nosuch"),
    "train extract/accurate": (2, "(it is a config of `skelpipe extract`)"),
    "sweep custom": (2, "the setting 'title' is missing (it is a config of `skelpipe train`)"),
    "pretrain custom": (2, "(it is a config of `skelpipe train`)"),
    "pretrain training.epoch=3": (2, "unknown setting 'training.epoch'"),
    "sweep nosuch": (2, "unknown config nosuch"),
    "sweep ablations/table4 training.epoch=3": (2, "unknown setting 'training.epoch'"),
    "extract clips --config nosuch": (2, "unknown config nosuch"),
    "extract clips --config wrong.yaml": (2, "unknown setting 'estimators'"),
    "extract clips --estimator hrnet-tiny --tiles always": (
        2,
        "--tiles always: has no effect, because rtmdet finds the persons, and only blazepose searches tiles; "
        "omit it, or use the estimator blazepose",
    ),
    "extract clips --estimator blazepose --detector yolox --tiles never": (2, "omit it, or the detector yolox"),
    "extract clips --config tiles.yaml": (2, "--tiles always: has no effect, because rtmdet finds the persons"),
    "extract clips --estimator nosuch": (2, "unknown estimator 'nosuch'"),
    "extract clips --detector nosuch": (2, "unknown detector 'nosuch'"),
    "extract clips --estimator nosuch.onnx": (1, "ONNX file nosuch.onnx does not exist"),
    "extract clips --engine nosuch": (2, "--engine nosuch: must be local or ray"),
    "extract clips --decoder nosuch": (2, "--decoder nosuch: must be 'cpu' or 'cuda'"),
    "extract clips --actors 3": (2, "--actors 3: is an option of a cluster; add --engine ray"),
    "extract clips --engine ray --actor-memory 0": (2, "--actor-memory 0: must be greater than 0"),
    "extract rtsp://camera/stream": (2, "only `skelpipe predict` reads streams"),
    "extract nosuch://bucket": (2, "nosuch://bucket: is not a URL that fsspec supports"),
    "extract memory://bucket --chunk 60": (2, "memory://bucket: no such file or folder"),
    "sweep ablations/table4 --actors 3": (2, "--actors 3: is an option of a cluster; add --engine ray"),
    "sweep ablations/table4 --engine ray --jobs 2": (2, "--jobs 2: has no effect with --engine ray; give --actors"),
    "robustness nosuch --address head:1": (2, "--address head:1: is an option of a cluster; add --engine ray"),
    "extract clips --shard auto": (2, "SLURM_ARRAY_TASK_ID is not set"),
    "serve --allow-host https://example.org/": (2, "--allow-host https://example.org/: must be a name such as"),
    "serve --min-rate fast": (2, "--min-rate fast: must be a size such as 500M"),
    "extract --nosuch": (2, "No such option: --nosuch"),
    "evaluate --protocol nosuch": (2, "unknown protocol 'nosuch'"),
    "evaluate --protocol linear --set nosuch=1": (2, "unknown setting 'nosuch'"),
    "train --data data.pkl --device tpu": (2, "unknown device 'tpu'"),
    "evaluate --device tpu": (2, "unknown device 'tpu'"),
    "serve --data data.pkl": (2, "--data data.pkl: is a file"),
    "evaluate --precision fp8": (2, "--precision fp8: must be one of"),
    "predict clips/clip.mp4 --backend nosuch": (2, "--backend nosuch: must be one of"),
    "predict clips/clip.mp4 --tiles nosuch": (2, "--tiles nosuch: must be "),
    "predict clips/clip.mp4 --detection-threshold 2": (2, "--detection-threshold 2: must be "),
    **{
        f"predict data.pkl {option}": (
            2,
            f"{option}: has no effect, because data.pkl contains skeletons already; omit it, or pass the videos",
        )
        for option in (
            "--estimator vitpose",
            "--detector rtmdet-m",
            "--checkpoint weights.pth",
            "--detector-checkpoint weights.pth",
            "--detection-threshold 0.4",
            "--tiles always",
        )
    },
    # The options apply to the videos among the inputs.
    "predict data.pkl clips/clip.mp4 --tiles always --run nosuch": (1, "nosuch: no such run"),
    "predict clips/clip.mp4 --threshold nosuch": (2, "--threshold nosuch: must be a probability from 0 to 1"),
    "robustness nosuch --only nosuch": (2, "--only nosuch: unknown family of perturbations"),
    "serve --run nosuch": (1, "nosuch: no such run"),
    "serve --host 0.0.0.0": (2, "protect it with --token auto"),
    "serve --token short": (2, "--token: has only 5 characters"),
    "serve --allow nosuch": (2, "--allow nosuch: is not a folder"),
    "serve --max-upload many": (2, "--max-upload many: must be a size"),
    "serve --host 192.0.2.1 --token 0123456789abcdef": (2, "--host 192.0.2.1 --port 8000: cannot listen there"),
    # A malformed table.
    "train --data labels.csv": (1, "labels.csv: not a skeleton pickle"),
    "pretrain --data clips/clip.mp4": (1, "clips/clip.mp4: not a skeleton pickle"),
    "extract clips --labels malformed.csv": (1, "malformed.csv"),
    "label data.pkl --labels malformed.csv": (1, "malformed.csv"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with files of the right names; none of them is read before the error."""
    folder = tmp_path_factory.mktemp("wrong_usage")
    (folder / "clips").mkdir()
    (folder / "clips" / "clip.mp4").touch()
    (folder / "data.pkl").write_bytes(pickle.dumps({"split": {}, "annotations": []}))
    (folder / "labels.csv").write_text("file,label\nclip.mp4,wave\n", encoding="utf-8")
    (folder / "malformed.csv").write_text("video,action\nclip.mp4,wave\n", encoding="utf-8")
    (folder / "tiles.yaml").write_text("tiles: always\n", encoding="utf-8")
    (folder / "wrong.yaml").write_text("estimators: vitpose\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def outcomes(folder):
    """What each command prints to standard error, and its result as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *CASES],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "200", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(CASES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("command", CASES)
def test_wrong_usage_is_reported_before_anything_heavy_is_imported(command, outcomes):
    status, message = CASES[command]
    errors, result = outcomes[command]
    assert message in errors
    code, loaded, policy = json.loads(result)
    assert code == status
    assert loaded == []
    assert policy == "PASSIVE"
