"""Text files of NTU RGB+D and PKU-MMD, made to their definition, become skeleton files."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.kinect_text import Body, clean
from pose_extraction.annotations import read_pickle

STANDING = np.random.default_rng(0).normal(size=(25, 3)) * (0.2, 0.5, 0.1) + (0, 0, 3)


def standing(frames: int, *, sway: float = 0.1, shift: float = 0.0) -> np.ndarray:
    body = np.repeat(STANDING[None], frames, axis=0)
    body[..., 0] += sway * np.sin(np.arange(frames))[:, None] + shift
    return body.astype(np.float32)


def write_ntu(path: Path, frames: int, bodies: list[tuple[int, range, np.ndarray]]) -> None:
    """A .skeleton file; a body is its number, the frames that it is in, and its joints."""
    lines = [str(frames)]
    for frame in range(frames):
        there = [(number, keypoint[frame - within.start]) for number, within, keypoint in bodies if frame in within]
        lines.append(str(len(there)))
        for number, joints in there:
            lines += [f"7205759403792{number} 0 1 1 1 1 0 -0.1 0.2 2", "25"]
            lines += [" ".join(map(str, [*joint.tolist(), 0, 0, 0, 0, 0, 0, 0, 0, 2])) for joint in joints]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def convert(*words: str):
    return CliRunner().invoke(app, ["convert", *words])


def test_ntu_files_become_clips_with_labels_and_official_splits(tmp_path):
    first, second = standing(20), standing(14, shift=1)
    write_ntu(tmp_path / "in" / "S001C002P001R001A003.skeleton", 20, [(1, range(20), first), (2, range(6, 20), second)])
    write_ntu(tmp_path / "in" / "S001C001P003R001A001.skeleton", 16, [(5, range(16), standing(16))])
    result = convert("ntu", str(tmp_path / "in"), "--out", str(tmp_path / "ntu.pkl"))
    assert result.exit_code == 0, result.output
    data = read_pickle(tmp_path / "ntu.pkl")
    one, two = data["annotations"]
    assert (one["frame_dir"], one["label"], two["label"]) == ("S001C001P003R001A001", 0, 2)
    assert data["label_names"] == ["A001", "A002", "A003"]
    assert data["split"]["xsub_train"] == ["S001C002P001R001A003"]
    assert data["split"]["xview_val"] == ["S001C001P003R001A001"]
    assert two["keypoint"].shape == (2, 20, 25, 3)
    np.testing.assert_allclose(two["keypoint"][0], first)
    np.testing.assert_allclose(two["keypoint"][1, 6:], second)
    assert not two["keypoint"][1, :6].any()


def test_noise_is_no_person_and_parts_of_one_person_are_put_together():
    person, later = Body(np.arange(20), standing(20)), Body(np.arange(30, 50), standing(20, sway=0.05))
    wide = Body(np.arange(50), standing(50)[..., [1, 0, 2]])
    short = Body(np.arange(11), standing(11, sway=2))
    cleaned = clean(50, [wide, short, later, person])
    assert cleaned.shape == (1, 50, 25, 3)
    np.testing.assert_array_equal(cleaned[0, :20], person.keypoint)
    np.testing.assert_array_equal(cleaned[0, 30:], later.keypoint)
    assert not cleaned[0, 20:30].any()
    assert len(clean(50, [wide, short])) == 1 and len(clean(5, [])) == 0


def test_a_file_that_ends_early_is_named_with_its_line_and_left_out_when_told_to(tmp_path):
    write_ntu(tmp_path / "S001C001P001R001A001.skeleton", 14, [(1, range(14), standing(14))])
    broken = tmp_path / "S001C001P002R001A001.skeleton"
    write_ntu(broken, 14, [(1, range(14), standing(14))])
    broken.write_text("\n".join(broken.read_text().split("\n")[:100]))
    result = convert("ntu", str(tmp_path), "--out", str(tmp_path / "ntu.pkl"))
    assert result.exit_code == 1 and f"{broken}: line 101 should hold" in result.stderr
    assert not (tmp_path / "ntu.pkl").exists()
    result = convert("ntu", str(tmp_path), "--out", str(tmp_path / "ntu.pkl"), "--skip-bad")
    assert result.exit_code == 0 and "1 left out" in result.stderr


@pytest.fixture
def pku(tmp_path):
    folder = tmp_path / "pku"
    for name, text in (
        ("Skeleton/PKU_Skeleton_Renew/0002-L.txt", 60),
        ("Skeleton/PKU_Skeleton_Renew/0003-M.txt", 40),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        both = np.concatenate([standing(text), np.zeros((text, 25, 3))], 1).reshape(text, 150)
        both[:, 0] = np.arange(text)
        np.savetxt(folder / name, both, fmt="%.6f")
    (folder / "Label" / "Train_Label_PKU_final").mkdir(parents=True)
    (folder / "Label" / "Train_Label_PKU_final" / "0002-L.txt").write_text("3,5,25,2\n51,30,60,1\n")
    (folder / "Label" / "Train_Label_PKU_final" / "0003-M.txt").write_text("1,0,40,2\n")
    (folder / "Split").mkdir()
    (folder / "Split" / "cross-subject.txt").write_text("Training videos:\n0002-L, \nValidation videos:\n0003-M\n")
    return folder


def test_pku_actions_become_clips_and_its_split_is_kept(pku, tmp_path):
    result = convert("pkummd", str(pku), "--out", str(tmp_path / "pku.pkl"))
    assert result.exit_code == 0, result.output
    data = read_pickle(tmp_path / "pku.pkl")
    assert [(clip["label"], clip["total_frames"]) for clip in data["annotations"]] == [(2, 20), (50, 30), (0, 40)]
    assert data["split"] == {"xsub_train": ["0002-L_000", "0002-L_001"], "xsub_val": ["0003-M_000"]}
    assert data["annotations"][0]["keypoint"].shape == (1, 20, 25, 3)
    assert data["annotations"][0]["keypoint"][0, 0, 0, 0] == 5
    assert len(data["label_names"]) == 51


def test_pku_videos_stay_whole_for_detection(pku, tmp_path):
    result = convert("pkummd", str(pku), "--out", str(tmp_path / "pku.pkl"), "--untrimmed")
    assert result.exit_code == 0, result.output
    first = read_pickle(tmp_path / "pku.pkl")["annotations"][0]
    assert first["total_frames"] == 60 and first["label"] == -1
    assert first["actions"] == [[2, 5, 25], [50, 30, 60]]


@pytest.mark.parametrize("line", ["52,5,25,2", "3,25,5,2", "3,70,80,2", "a,b"])
def test_labels_that_cannot_be_are_named(pku, tmp_path, line):
    path = pku / "Label" / "Train_Label_PKU_final" / "0002-L.txt"
    path.write_text(f"3,5,25,2\n{line}\n")
    result = convert("pkummd", str(pku), "--out", str(tmp_path / "pku.pkl"))
    assert result.exit_code == 1 and f"{path}: line 2 should hold a class from 1 to 51" in result.stderr
