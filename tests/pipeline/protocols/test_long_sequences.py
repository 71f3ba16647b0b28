"""`skelpipe evaluate --protocol detection` and `motion`: sequences with actions, skipped clips, detectors."""

from pathlib import Path

import pytest

from pipeline.protocols.detection import measure_detector, train_detector
from pipeline.protocols.labelled_sequences import read_labelled_sequences
from pipeline.protocols.measurement import resolve_request
from pipeline.protocols.request import ProtocolRequest
from pipeline.protocols.sequences import open_sequences
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.formats.pickles import read_pickle
from recognition.protocols.detector import load_detector
from test_support.networks.made_encoders import skelpipe
from test_support.networks.protocol_runs import LONG, ON, SHORT, measured, refused, sets

pytestmark = pytest.mark.processor


@pytest.mark.slow
@pytest.mark.parametrize(
    ("actions", "output"),
    [
        ([["jump", 5, 25]], ": the action ['jump', 5, 25] must be [class, first frame, frame after the last]"),
        ([[0, 5]], ": the action [0, 5] must be [class, first frame, frame after the last], three integers"),
        ([[7, 5, 25]], ": the action [7, 5, 25] has class 7, which must be from 0 to 1, the classes of the file's"),
        ([[-2, 5, 25]], ": the action [-2, 5, 25] has class -2, which must be from 0 to 1"),
        (
            [[0, 25, 5]],
            ": the action [0, 25, 5] must be [class, first frame, frame after the last], with frames from 0 to 60",
        ),
        (
            [[0, 5, 61]],
            ": the action [0, 5, 61] must be [class, first frame, frame after the last], with frames from 0 to 60",
        ),
        (5, ': "actions" is 5; it must be a list of'),
    ],
)
def test_invalid_actions_are_refused_or_skipped(own, long, tmp_path, actions, output):
    content = read_pickle(long)
    content["annotations"][3]["actions"] = actions
    write_pickle(tmp_path / "bad.pkl", content)
    words = ("--data", tmp_path / "bad.pkl", *sets(*SHORT, *LONG))
    message = refused(own, "detection", *words)
    assert "bad.pkl: clip 'long3'" + output in message and message.endswith("or skip the clip (--skip-bad)")
    result = skelpipe("evaluate", own, "--protocol", "detection", *words, "--skip-bad", *ON)
    assert result.exit_code == 0, result.output
    assert "skipped 1 clip with malformed actions; the first:" in " ".join(result.stderr.split())


def test_classes_are_taken_from_the_actions_if_a_file_names_none(own, long, tmp_path):
    content = read_pickle(long)
    del content["label_names"]
    for clip in content["annotations"]:
        clip["filename"] = clip.pop("frame_dir")
    write_pickle(tmp_path / "numbers.pkl", content)
    found = measured(own, "detection", "--data", tmp_path / "numbers.pkl", *sets(*SHORT, *LONG))
    assert found["actions"] == 2
    assert load_detector(own / "detector.safetensors").label_names == ("0", "1", "no action")


@pytest.mark.parametrize("protocol", ["detection", "motion"])
def test_long_sequences_can_be_skipped_and_are_counted(own, long, tmp_path, protocol):
    content = read_pickle(long)
    content["annotations"][3]["keypoint"] = content["annotations"][3]["keypoint"][:, :5]
    write_pickle(tmp_path / "bad.pkl", content)
    words = ("--data", tmp_path / "bad.pkl", *sets(*SHORT, *LONG))
    assert "clip 'long3'" in refused(own, protocol, *words)
    assert measured(own, protocol, *words, "--skip-bad")["clips"] == 2
    every = measured(own, protocol, *words, "--skip-bad", "--split", "all")
    assert (every["split"], every["clips"]) == ("all", 7)


def test_replacing_a_detector_is_reported(own, long):
    words = ("--data", long, *sets(*SHORT, *LONG), *ON)
    first, second = (skelpipe("evaluate", own, "--protocol", "detection", *words) for _ in range(2))
    assert "replacing an earlier detector" not in first.stderr
    assert "replacing an earlier detector" in " ".join(second.stderr.split())


def test_a_baseline_leaves_no_detector(own, long):
    found = measured(own, "detection", "--data", long, "--scratch", *sets(*SHORT, *LONG))
    assert "detector" not in found and not (own / "detector.safetensors").exists()


def test_training_and_measuring_a_detector_write_nothing(own, long):
    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in own.rglob("*")}

    before = files()
    request = ProtocolRequest(
        protocol="detection", run=own, data=long, pairs=(*SHORT, *LONG), device="cpu", precision="fp32"
    )
    measurement = resolve_request(request, lambda _: None)
    sequences = open_sequences(measurement.first, measurement.selection, tell=measurement.tell)
    labelled = read_labelled_sequences(sequences, measurement.tell)
    classifier = train_detector(measurement, labelled)
    first, second = (measure_detector(measurement, labelled, classifier) for _ in range(2))
    assert first == second and (first["clips"], first["actions"]) == (2, 2)
    assert files() == before
