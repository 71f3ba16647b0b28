"""Two skeleton files of the same videos, compared joint by joint."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.datasets.comparison import compare_files
from pose_extraction.errors import UsageError
from pose_extraction.formats.pickle_writing import write_pickle
from pose_extraction.skeleton import COCO17
from test_support.videos.made_video import STANDING

TORSO = 40.0
WRIST, SHOULDERS, HIPS = COCO17.joints.index("left_wrist"), [5, 6], [11, 12]


def standing(frames: int, x: float) -> np.ndarray:
    """A person (T, 17, 2) whose torso is `TORSO` pixels long."""
    body = STANDING[SHOULDERS].mean(0) - STANDING[HIPS].mean(0)
    return np.tile(STANDING * TORSO / np.linalg.norm(body) + [x, 200.0], (frames, 1, 1))


def write(
    path: Path, keypoint: np.ndarray, score: np.ndarray | None = None, *, frames=None, name="clip", estimator=None
) -> Path:
    length = keypoint.shape[1]
    score = np.ones(keypoint.shape[:3], np.float32) if score is None else score
    clip = {
        "frame_dir": name,
        "label": 0,
        "total_frames": length,
        "img_shape": (480, 640),
        "original_shape": (480, 640),
        "keypoint": np.where(score[..., None] > 0, keypoint, 0).astype(np.float32),
        "keypoint_score": score,
        "frame_index": np.arange(length) if frames is None else frames,
        "estimator": estimator or path.stem,
    }
    write_pickle(path, {"split": {}, "annotations": [clip]})
    return path


def test_distances_are_in_torso_lengths_and_joints_are_counted_where_they_are_seen(tmp_path: Path) -> None:
    keypoint = standing(10, 100.0)[None]
    moved, score = keypoint.copy(), np.ones(keypoint.shape[:3], np.float32)
    moved[0, :, WRIST] += [0.3 * TORSO, 0.4 * TORSO]
    score[0, :4, WRIST] = 0
    result = compare_files(write(tmp_path / "one.pkl", keypoint), write(tmp_path / "two.pkl", moved, score))
    assert (result.first, result.second) == ("one", "two")
    assert (result.clips, result.frames, result.poses, result.only_first, result.only_second) == (1, 10, 10, 0, 0)
    joints = {row.joint: row for row in result.joints}
    wrist = joints.pop("left_wrist")
    np.testing.assert_allclose((wrist.median, wrist.most, wrist.first, wrist.second), (0.5, 0.5, 1.0, 0.6), rtol=1e-5)
    assert all((row.median, row.first, row.second) == (0, 1, 1) for row in joints.values())


def test_persons_are_matched_in_any_order_and_others_are_counted(tmp_path: Path) -> None:
    left, right, third = (standing(6, x)[None] for x in (100.0, 300.0, 500.0))
    gone = np.ones((2, 6, 17), np.float32)
    gone[1, 3:] = 0
    one = write(tmp_path / "one.pkl", np.concatenate([left, right]), gone)
    two = write(tmp_path / "two.pkl", np.concatenate([right, third, left]))
    result = compare_files(one, two)
    assert (result.poses, result.only_first, result.only_second) == (9, 0, 9)
    assert all(row.median == 0 for row in result.joints)


def test_frames_are_matched_by_their_number(tmp_path: Path) -> None:
    walk = standing(10, 100.0) + np.arange(10)[:, None, None] * [5.0, 0.0]
    one = write(tmp_path / "one.pkl", walk[None])
    two = write(tmp_path / "two.pkl", walk[None, ::3], frames=np.arange(0, 10, 3))
    result = compare_files(one, two)
    assert result.frames == result.poses == 4
    assert all(row.most == 0 for row in result.joints)


def test_files_without_common_clips_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "one.pkl", standing(3, 0.0)[None])
    two = write(tmp_path / "two.pkl", standing(3, 0.0)[None], name="other")
    with pytest.raises(UsageError, match=r"no clip in common.*'clip'.*'other'"):
        compare_files(one, two)


@pytest.mark.parametrize(
    ("one", "two", "headings"),
    [
        ("a/one.pkl", "b/two.pkl", ("made (one)", "made (two)")),
        ("a/one.pkl", "b/one.pkl", ("made (a/one.pkl)", "made (b/one.pkl)")),
        ("a/c/one.pkl", "b/c/one.pkl", ("made (a/c/one.pkl)", "made (b/c/one.pkl)")),
        ("c/one.pkl", "b/c/one.pkl", ("made (FOLDER/c/one.pkl)", "made (b/c/one.pkl)")),
        ("one.pkl", "one.pkl", ("made (first)", "made (second)")),
    ],
)
def test_files_of_one_estimator_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str, two: str, headings: tuple[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in map(Path, (one, two)):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, standing(3, 100.0)[None], estimator="made")
    shown = CliRunner().invoke(app, ["stats", one, two, "--compare"], env={"COLUMNS": "200"})
    first, second = (heading.replace("FOLDER", tmp_path.name) for heading in headings)
    assert f"only {first}: 0, only {second}: 0" in shown.output
    (row,) = (line for line in shown.output.splitlines() if first in line and second in line and "only" not in line)
    assert row.index(first) < row.rindex(second)
    printed = json.loads(CliRunner().invoke(app, ["stats", one, two, "--compare", "--json"]).output)
    assert (printed["first"], printed["second"], printed["files"]) == ("made", "made", [one, two])


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    one = str(write(tmp_path / "one.pkl", standing(3, 100.0)[None]))
    two = str(write(tmp_path / "two.pkl", standing(3, 100.0)[None]))
    shown = CliRunner().invoke(app, ["stats", one, two, "--compare"])
    assert shown.exit_code == 0 and "3 poses in both" in shown.output and "left_ankle" in shown.output
    printed = json.loads(CliRunner().invoke(app, ["stats", one, two, "--compare", "--json"]).output)
    assert printed["poses"] == 3 and len(printed["joints"]) == 17
    wrong = CliRunner().invoke(app, ["stats", one, "--compare"])
    assert isinstance(wrong.exception, UsageError) or wrong.exit_code == 2
