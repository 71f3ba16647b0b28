"""The result of a clip does not depend, not even in its last bit, on the clips that share its batch."""

from pathlib import Path

import numpy as np
import pytest

from pose_extraction.engines.engine import Engine
from pose_extraction.formats.pickles import read_pickle
from recognition.data.clip import Clip, clip_from_arrays
from recognition.inference.prediction import predict_clips
from recognition.inference.predictor import Predictor
from recognition.inference.skeleton_clips import clips_for
from recognition.runs import load_run
from test_support.networks.trained_run import LABEL_NAMES, made_clip, made_run, write_data

pytestmark = [pytest.mark.processor, pytest.mark.slow]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("steady"))[0]


def made_clips() -> list[Clip]:
    """Clips of several lengths and numbers of persons."""
    rng = np.random.default_rng(3)
    clips = []
    for number in range(20):
        parts = [made_clip("", LABEL_NAMES[number % 3], rng, frames=12 + number % 3) for _ in range(1 + number % 2)]
        keypoint = np.concatenate([part["keypoint"] for part in parts])
        clips.append(clip_from_arrays(keypoint, None, (480, 640)))
    return clips


@pytest.mark.parametrize("which", ["everyday", "trained"])
@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_neighbours_do_not_change_a_result(run: Path, which: str, backend: str) -> None:
    trained = load_run(run if which == "trained" else which)
    predictor = Predictor(trained, Engine("cpu", backend, "fp32"))
    clips = made_clips()
    alone = [predictor.classify([clip]) for clip in clips]
    rng = np.random.default_rng(0)
    for size in (5, 20):
        rows = rng.permutation(len(clips))[:size]
        together = predictor.classify([clips[row] for row in rows])
        for place, row in enumerate(rows):
            assert (together.probabilities[place] == alone[row].probabilities[0]).all()
            assert together.unknown[place] == alone[row].unknown[0]


def test_a_file_gets_the_results_of_its_clips_in_memory(run: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    clips = [made_clip(f"clip{n}", LABEL_NAMES[n % 3], rng, frames=12 + n % 3) for n in range(9)]
    path = write_data(tmp_path / "clips.pkl", clips, {})
    trained, engine = load_run(run), Engine("cpu", "torch", "fp32")
    file = clips_for(trained, path)
    found = predict_clips(trained, file, range(9), engine=engine)
    predictor = Predictor(trained, engine)
    assert len(read_pickle(path)["annotations"]) == len(found) == 9
    for index, one in enumerate(found):
        alone = predictor.classify([file[index]])
        assert one.best == predictor.best(alone.probabilities[0])
        assert one.unknown == alone.unknown[0]
