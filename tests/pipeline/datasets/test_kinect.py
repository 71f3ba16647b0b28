"""Conversion of generated NTU RGB+D and PKU-MMD text files to skeleton files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.datasets.kinect_text import Body, clean, read_ntu_text
from pipeline.inputs.ntu import incomplete_clips, ntu_name
from pose_extraction.formats.pickles import read_pickle

STANDING = np.random.default_rng(0).normal(size=(25, 3)) * (0.2, 0.5, 0.1) + (0, 0, 3)


def standing(frames: int, *, sway: float = 0.1, shift: float = 0.0) -> np.ndarray:
    body = np.repeat(STANDING[None], frames, axis=0)
    body[..., 0] += sway * np.sin(np.arange(frames))[:, None] + shift
    return body.astype(np.float32)


def write_ntu(path: Path, frames: int, bodies: list[tuple[int, Sequence[int], np.ndarray]]) -> None:
    """A .skeleton file; a body is its id, its frames, and its joints in them."""
    lines = [str(frames)]
    for frame in range(frames):
        there = [(number, keypoint[within.index(frame)]) for number, within, keypoint in bodies if frame in within]
        lines.append(str(len(there)))
        for number, joints in there:
            lines += [f"720575940379{number:05d} 0 1 1 1 1 0 -0.1 0.2 2", "25"]
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
    assert two["keypoint"].shape == (2, 20, 25, 3) and one["fps"] == two["fps"] == 30.0
    np.testing.assert_allclose(two["keypoint"][0], first)
    np.testing.assert_allclose(two["keypoint"][1, 6:], second)
    assert not two["keypoint"][1, :6].any()


def test_noise_is_removed_and_parts_of_one_person_are_joined():
    person, later = Body(0, standing(20)), Body(30, standing(20, sway=0.05))
    wide = Body(0, standing(50)[..., [1, 0, 2]])
    short = Body(0, standing(11, sway=2))
    cleaned = clean(50, [wide, short, later, person])
    # No person remains in the ten frames between.
    assert cleaned.shape == (1, 40, 25, 3)
    np.testing.assert_array_equal(cleaned[0, :20], person.keypoint)
    np.testing.assert_array_equal(cleaned[0, 20:], later.keypoint)
    assert len(clean(50, [wide, short])) == 1 and len(clean(5, [])) == 0


def variance(frames: list[list[list[float]]]) -> float:
    points = [joint for joints in frames for joint in joints]
    total = 0.0
    for axis in range(3):
        mean = sum(point[axis] for point in points) / len(points)
        total += sum((point[axis] - mean) ** 2 for point in points) / len(points)
    return total


def cleaned_plainly(clip: list[list[tuple[int, list]]]) -> list[list]:
    """The published cleaning of NTU in plain loops: joints of two persons per kept frame, None if absent.

    Args:
        clip: Ids and joints of the bodies in each frame.
    """
    joints_of: dict[int, list] = {}
    first_of: dict[int, int] = {}
    frames = 0
    for bodies in clip:
        for number, joints in bodies:
            first_of.setdefault(number, frames)
            joints_of.setdefault(number, []).append(joints)
        frames += len(bodies) > 0
    motion = {number: variance(joints_of[number]) for number in joints_of}
    names = list(joints_of)
    if len(names) > 1:
        names = [number for number in names if len(joints_of[number]) > 11]
    for number in list(names):
        if len(names) == 1:
            break
        narrow = []
        for joints in joints_of[number]:
            x, y = [joint[0] for joint in joints], [joint[1] for joint in joints]
            if max(x) - min(x) <= 0.8 * (max(y) - min(y)):
                narrow.append(joints)
        wide = len(joints_of[number]) - len(narrow)
        if wide / len(joints_of[number]) >= 0.69754:
            names.remove(number)
        elif wide:
            motion[number] = min(motion[number], variance(narrow))
    names.sort(key=lambda number: -motion[number])
    persons = [[None, None] for _ in range(frames)]

    def put(person: int, number: int) -> None:
        for step, joints in enumerate(joints_of[number]):
            persons[first_of[number] + step][person] = joints

    put(0, names[0])
    start, end = [first_of[names[0]], 0], [first_of[names[0]] + len(joints_of[names[0]]) - 1, 0]
    for number in names[1:]:
        first, last = first_of[number], first_of[number] + len(joints_of[number]) - 1
        for person in range(2):
            if min(end[person], last) - max(start[person], first) <= 0:
                put(person, number)
                start[person], end[person] = min(start[person], first), max(end[person], last)
                break
    return [both for both in persons if both != [None, None]]


def made_bodies(rng: np.random.Generator) -> list[tuple[int, list[int], np.ndarray]]:
    """Up to six bodies with adjacent ids in 40 frames, which sway, walk, lie down and are lost at times."""
    bodies = []
    nobody = rng.choice(40, rng.choice([0, 5]), replace=False)
    lying_shares = (0.9,) if rng.random() < 0.2 else (0, 0.3, 0.6, 0.9)
    for number in range(int(rng.integers(1, 7))):
        length = int(rng.integers(9, 26))
        first = int(rng.integers(0, 41 - length))
        lost = rng.random(length) < rng.choice([0, 0.1])
        frames = [frame for frame in range(first, first + length) if frame not in nobody and not lost[frame - first]]
        keypoint = standing(len(frames), sway=rng.uniform(0.05, 0.5), shift=rng.normal()) * rng.uniform(0.7, 1.3)
        keypoint[..., 2] += np.linspace(0, rng.uniform(0, 2), len(frames))[:, None]
        lying = rng.random(len(frames)) < rng.choice(lying_shares)
        keypoint[lying] = keypoint[lying][..., [1, 0, 2]] * (3, 1, 1)
        bodies.append((number, frames, keypoint.astype(np.float32)))
    return bodies


@pytest.mark.parametrize("seed", range(40))
def test_cleaning_follows_the_published_steps(tmp_path, seed):
    bodies = made_bodies(np.random.default_rng(seed))
    write_ntu(tmp_path / "clip.skeleton", 40, bodies)
    clip = [
        [(number, joints[frames.index(frame)].tolist()) for number, frames, joints in bodies if frame in frames]
        for frame in range(40)
    ]
    expected = cleaned_plainly(clip)
    cleaned = clean(*read_ntu_text(tmp_path / "clip.skeleton"))
    assert cleaned.shape[1] == len(expected)
    assert len(cleaned) == (2 if any(both[1] is not None for both in expected) else 1)
    for frame, both in enumerate(expected):
        for person in range(len(cleaned)):
            wanted = np.zeros((25, 3)) if both[person] is None else both[person]
            np.testing.assert_array_equal(cleaned[person, frame], np.float32(wanted))


def test_bodies_have_no_gaps_and_empty_frames_do_not_count(tmp_path):
    moving, still, late = standing(30, sway=0.5), standing(30, shift=2), standing(12, sway=0.3)
    there = [frame for frame in range(30) if frame not in (3, 4, 10)]
    bodies = [(1, there, moving[there]), (2, sorted([*there, 10]), still[sorted([*there, 10])])]
    write_ntu(tmp_path / "clip.skeleton", 44, [*bodies, (3, range(32, 44), late)])
    cleaned = clean(*read_ntu_text(tmp_path / "clip.skeleton"))
    assert cleaned.shape == (2, 40, 25, 3)
    np.testing.assert_array_equal(cleaned[0, :27], moving[there])
    assert not cleaned[0, 27].any()
    np.testing.assert_array_equal(cleaned[0, 28:], late)
    np.testing.assert_array_equal(cleaned[1, :28], still[sorted([*there, 10])])


def test_the_range_of_the_second_person_starts_at_the_first_frame():
    """As published, a body that disappears before the second person appears is therefore dropped."""
    main = Body(0, standing(60, sway=0.5))
    second, gone = Body(30, standing(20, sway=0.3)), Body(1, standing(20, sway=0.2))
    cleaned = clean(60, [gone, second, main])
    assert not cleaned[1, :30].any()
    np.testing.assert_array_equal(cleaned[1, 30:50], second.keypoint)


def test_a_truncated_file_is_reported_with_its_line_and_skipped_on_request(tmp_path):
    write_ntu(tmp_path / "S001C001P001R001A001.skeleton", 14, [(1, range(14), standing(14))])
    broken = tmp_path / "S001C001P002R001A001.skeleton"
    write_ntu(broken, 14, [(1, range(14), standing(14))])
    broken.write_text("\n".join(broken.read_text().split("\n")[:100]))
    result = convert("ntu", str(tmp_path), "--out", str(tmp_path / "ntu.pkl"))
    assert result.exit_code == 1 and f"{broken}: line 101 must contain" in result.stderr
    broken.write_text("nan\n")
    result = convert("ntu", str(tmp_path), "--out", str(tmp_path / "ntu.pkl"))
    assert result.exit_code == 1 and f"{broken}: line 1 must contain 1 numbers" in result.stderr
    assert not (tmp_path / "ntu.pkl").exists()
    result = convert("ntu", str(tmp_path), "--out", str(tmp_path / "ntu.pkl"), "--skip-bad")
    assert result.exit_code == 0 and "1 skipped" in result.stderr


@pytest.mark.parametrize("place", ["nan", "1e60", "-inf"])
def test_an_invalid_position_and_a_repeated_clip_are_reported(tmp_path, place):
    path = tmp_path / "one" / "S001C001P001R001A001.skeleton"
    path.parent.mkdir()
    write_ntu(path, 14, [(1, range(14), standing(14))])
    again = tmp_path / "two" / path.name
    again.parent.mkdir()
    again.write_bytes(path.read_bytes())
    result = convert("ntu", str(tmp_path), "--out", str(tmp_path / "ntu.pkl"))
    assert result.exit_code == 1 and f"{again}: same clip as {path}" in result.stderr
    lines = again.read_text().split("\n")
    joint = next(number for number, line in enumerate(lines) if len(line.split()) == 12)
    lines[joint] = " ".join([place, *lines[joint].split()[1:]])
    path.write_text("\n".join(lines))
    again.unlink()
    result = convert("ntu", str(tmp_path), "--out", str(tmp_path / "ntu.pkl"))
    assert result.exit_code == 1 and f"{path}: the body that ends on line" in result.stderr


def test_incomplete_and_empty_clips_are_skipped_and_reported(tmp_path):
    body = [(1, range(14), standing(14))]
    write_ntu(tmp_path / "S001C001P001R001A001.skeleton", 14, body)
    write_ntu(tmp_path / "S001C002P005R002A008.skeleton", 14, body)
    # A listed clip may have any content.
    (tmp_path / "S032C003P067R002A077.skeleton").write_text("\n")
    for number in (2, 3):
        (tmp_path / f"S001C001P001R001A00{number}.skeleton").write_text("2\n0\n0\n")
    result = convert("ntu", str(tmp_path), "--out", str(tmp_path / "ntu.pkl"))
    assert result.exit_code == 0, result.output
    assert "skipped 2 clips that NTU's authors list as missing or incomplete" in result.stderr
    assert "skipped 2 clips without persons, such as S001C001P001R001A002" in result.stderr
    data = read_pickle(tmp_path / "ntu.pkl")
    assert [clip["frame_dir"] for clip in data["annotations"]] == ["S001C001P001R001A001"]
    assert data["split"]["xsub_train"] == ["S001C001P001R001A001"]
    kept = convert("ntu", str(tmp_path), "--out", str(tmp_path / "ntu.pkl"), "--keep-incomplete", "--skip-bad")
    assert kept.exit_code == 0 and "1 skipped" in kept.stderr
    assert [clip["label"] for clip in read_pickle(tmp_path / "ntu.pkl")["annotations"]] == [0, 7]
    (tmp_path / "S001C001P001R001A001.skeleton").unlink()
    result = convert("ntu", str(tmp_path), "--out", str(tmp_path / "none.pkl"))
    assert result.exit_code == 2 and "no clip could be read; skipped 2 clips that" in result.stderr


def test_the_list_of_incomplete_clips_matches_the_published_numbers():
    """The counts are the recordings times actions, minus the clips of the published splits."""
    names = [ntu_name(text) for text in incomplete_clips()]
    of_60 = [name for name in names if not name.beyond_60]
    assert (len(names), len(of_60)) == (535, 302)
    assert (56_880 - len(of_60), 114_480 - len(names)) == (56_578, 113_945)
    sides = {part: sum(part in name.splits for name in of_60) for part in ("xsub_train", "xview_train")}
    assert sides == {"xsub_train": 40_320 - 40_091, "xview_train": 37_920 - 37_646}
    sides = {part: sum(part in name.splits for name in names) for part in ("xsub_train", "xset_train")}
    assert sides == {"xsub_train": 63_360 - 63_026, "xset_train": 54_720 - 54_468}


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


@pytest.mark.parametrize("untrimmed", [[], ["--untrimmed"]])
def test_pku_is_read_from_any_folder(pku, tmp_path, untrimmed):
    moved = tmp_path / "Labelled data" / "PKU_Label"
    moved.parent.mkdir()
    pku.rename(moved)
    result = convert("pkummd", str(moved), "--out", str(tmp_path / "pku.pkl"), *untrimmed)
    assert result.exit_code == 0, result.output


def test_the_second_phase_of_pku_is_read_as_published(pku, tmp_path):
    (pku / "Label").rename(pku / "label")
    (pku / "Split" / "cross-subject.txt").rename(pku / "Split" / "cross_subject_v2.txt")
    (pku / "Split" / "cross_view_v2.txt").write_text("Training videos:\n0003-M\nTesting videos:\n0002-L\n")
    result = convert("pkummd", str(pku), "--out", str(tmp_path / "pku.pkl"), "--untrimmed")
    assert result.exit_code == 0, result.output
    split = read_pickle(tmp_path / "pku.pkl")["split"]
    assert split["xsub_train"] == split["xview_val"] == ["0002-L"]
    (pku / "Split").rename(tmp_path / "Split")
    result = convert("pkummd", str(pku), "--out", str(tmp_path / "none.pkl"))
    assert result.exit_code == 2 and "contains none of cross-subject.txt" in result.stderr


def test_pku_videos_stay_whole_for_detection(pku, tmp_path):
    result = convert("pkummd", str(pku), "--out", str(tmp_path / "pku.pkl"), "--untrimmed")
    assert result.exit_code == 0, result.output
    first = read_pickle(tmp_path / "pku.pkl")["annotations"][0]
    assert first["total_frames"] == 60 and first["label"] == -1 and first["fps"] == 30.0
    assert first["actions"] == [[2, 5, 25], [50, 30, 60]]


@pytest.mark.parametrize("line", ["52,5,25,2", "3,25,5,2", "3,70,80,2", "a,b"])
def test_invalid_labels_are_reported(pku, tmp_path, line):
    path = pku / "Label" / "Train_Label_PKU_final" / "0002-L.txt"
    path.write_text(f"3,5,25,2\n{line}\n")
    result = convert("pkummd", str(pku), "--out", str(tmp_path / "pku.pkl"))
    assert result.exit_code == 1 and f"{path}: line 2 must contain a class from 1 to 51" in result.stderr
