"""Rendered images compared with their ground truth."""

import sys
from pathlib import Path

import numpy as np
import pytest

from pose_extraction.errors import UsageError
from pose_extraction.formats.validation import read_data_set
from pose_extraction.video.reader import VideoReader
from synthetic.rendering.actions import ACTIONS, act
from synthetic.rendering.appearance import TILE, draw_look
from synthetic.rendering.background import PLACES
from synthetic.rendering.body import draw_body
from synthetic.rendering.camera import Camera, draw_camera
from synthetic.rendering.clips import Clip, clips_of, write_clips
from synthetic.rendering.clips import main as render_clips
from synthetic.rendering.family import FAMILIES, TEST, TRAIN
from synthetic.rendering.figure import Figure
from synthetic.rendering.imaging import ImageDegradation, Imaging
from synthetic.rendering.kinematics import posture_of
from synthetic.rendering.painter import FAR, Canvas, Light, Wrap
from synthetic.rendering.props import Block
from synthetic.rendering.scene import HIDDEN, OUTSIDE, SEEN, Scene
from synthetic.rendering.style import draw_style

LIGHT = Light(np.array([0.0, -0.6, -0.8]), 0.6, 0.4)
WHITE = np.full((TILE, TILE, 3), 200, np.float32)
SIZE = (96, 128)


def straight_camera(frames: int = 1, size: tuple[int, int] = SIZE) -> Camera:
    """A camera at chest height, three metres in front of the origin."""
    axes = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])
    return Camera(size, np.full(frames, 110.0), np.array([0.0, 1.0, 3.0]), np.tile(axes, (frames, 1, 1)), axes)


def figure_that_faces(heading: float) -> Figure:
    random = TRAIN.generator(4)
    body = draw_body(TRAIN, random)
    motion = act("stand", body, draw_style(TRAIN, random), np.zeros(1)).moved(np.zeros(2), heading)
    return Figure(body, draw_look(TRAIN, random), posture_of(body, motion), straight_camera())


def reference_limb(start, stop, radius, depth, bulge):
    """Plain definition of a limb's depth in every pixel, FAR outside the limb."""
    found = np.full(SIZE, float(FAR))
    axis = np.subtract(stop, start)
    length = np.hypot(*axis)
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            offset = np.array([column, row]) - start
            part = min(max(offset @ axis / length**2, 0.0), 1.0)
            thick = radius[0] + part * (radius[1] - radius[0])
            away = np.linalg.norm(offset - part * axis) / thick
            if away < 1:
                swell = bulge[0] + part * (bulge[1] - bulge[0])
                found[row, column] = depth[0] + part * (depth[1] - depth[0]) - swell * np.sqrt(1 - away**2)
    return found


def test_a_limb_has_the_position_and_depth_of_its_definition() -> None:
    canvas = Canvas(np.zeros((*SIZE, 3), np.uint8), LIGHT)
    shape = (np.array([30.3, 20.6]), np.array([90.1, 70.2]), np.array([12.0, 5.0]), (2.0, 3.0), (0.2, 0.1))
    canvas.limb(*shape, Wrap(WHITE, np.array([1.0, 0, 0]), np.array([0, 0, -1.0])))
    expected = reference_limb(*shape)
    np.testing.assert_allclose(canvas.depth, expected, rtol=2e-4)
    inside = expected < FAR
    assert (canvas.picture[inside] > 30).all() and not canvas.picture[:7].any()


@pytest.mark.parametrize("first", [0, 1])
def test_the_nearer_limb_hides_the_farther_in_any_order(first: int) -> None:
    canvas = Canvas(np.zeros((*SIZE, 3), np.uint8), LIGHT)
    wraps = [Wrap(WHITE * shade, np.array([1.0, 0, 0]), np.array([0, 0, -1.0])) for shade in (0.25, 1.0)]
    for number in (first, 1 - first):
        ends = (
            (np.array([20.0, 48.0]), np.array([100.0, 48.0])) if number else (np.array([60.0, 8]), np.array([60.0, 88]))
        )
        away = 4.0 - 2 * number
        canvas.limb(*ends, np.array([6.0, 6.0]), (away, away), (0.1, 0.1), wraps[number])
    assert canvas.depth[48, 60] == pytest.approx(1.9, abs=1e-3)
    assert canvas.picture[48, 60, 0] > 2 * canvas.picture[20, 60, 0]


def test_a_flat_face_has_the_depth_of_its_plane_in_each_pixel() -> None:
    camera = straight_camera()
    canvas = Canvas(np.zeros((*SIZE, 3), np.uint8), LIGHT)
    turn = np.array([[np.cos(0.5), 0, np.sin(0.5)], [0, 1, 0], [-np.sin(0.5), 0, np.cos(0.5)]])
    centre, half = np.array([0.1, 1.0, 0.5]), np.array([0.6, 0.4, 0.001])
    Block(centre[None], half, turn[None], WHITE).paint(canvas, camera, 0)
    # The face towards the camera: intersection of a pixel's ray with its plane.
    normal, middle = turn[:, 2], centre + turn[:, 2] * half[2]
    for row, column in ((48, 64), (40, 50), (52, 80)):
        ray = np.array([(column - 63.5) / 110, -(row - 47.5) / 110, -1.0])
        expected = (normal @ (middle - camera.centre)) / (normal @ ray)
        assert canvas.depth[row, column] == pytest.approx(expected, rel=1e-4)


def test_left_right_front_and_back_match_the_person() -> None:
    front, back = figure_that_faces(0.0), figure_that_faces(np.pi)
    for joint in (1, 3, 5, 7, 9, 11, 13, 15):
        assert front.point[0, joint, 0] > front.point[0, joint + 1, 0]
        assert back.point[0, joint, 0] < back.point[0, joint + 1, 0]
    assert front.depth[0, 0] < front.depth[0, 3] and back.depth[0, 0] > back.depth[0, 3]


def visibility_of(figure: Figure, *blocks: Block) -> np.ndarray:
    scene = object.__new__(Scene)
    scene.size, scene.figures = SIZE, [figure]
    canvas = Canvas(np.zeros((*SIZE, 3), np.uint8), LIGHT)
    for block in blocks:
        block.paint(canvas, straight_camera(), 0)
    figure.paint(canvas, 0)
    return scene._truth(canvas.depth, 0).visibility[0]


def test_a_face_is_visible_only_from_the_front_and_not_behind_a_wall() -> None:
    front, back = figure_that_faces(0.0), figure_that_faces(np.pi)
    assert (np.delete(visibility_of(front), [3, 4]) == SEEN).all(), "but for ears, which hair may cover"
    seen_from_behind = visibility_of(back)
    assert (seen_from_behind[:3] == HIDDEN).all() and (seen_from_behind[5:] == SEEN).all()
    wall = Block(np.array([[0.0, 1.0, 1.5]]), np.array([2.0, 0.5, 0.05]), np.eye(3)[None], WHITE)
    behind = visibility_of(front, wall)
    assert (behind[5:13] == HIDDEN).all()


def test_the_background_moves_like_distant_objects() -> None:
    time = np.arange(30) / 10
    cameras = (
        draw_camera(TEST, TEST.generator(seed), size=SIZE, time=time, tall=1.7, aim=np.array([0.0, 0.85, 0.0]))
        for seed in range(99)
    )
    camera = next(one for one in cameras if np.abs(one.turn[7] - one.level).max() > 0.01)
    still = Camera(SIZE, np.full(30, camera.focal[0]), camera.centre, np.tile(camera.level, (30, 1, 1)), camera.level)
    far = camera.centre + 1e7 * (camera.level.T @ np.array([0.1, -0.05, 1.0]))
    for frame in (0, 7, 29):
        source = still.pixels(still.seen(np.tile(far, (30, 1))))[frame] + (20, 10)
        moved = camera.background_map(frame, (10, 20), float(camera.focal[0])) @ [*source, 1.0]
        expected = camera.pixels(camera.seen(np.tile(far, (30, 1))))[frame]
        np.testing.assert_allclose(moved[:2] / moved[2], expected, atol=1e-3)


def test_a_scene_is_determined_by_family_and_seed() -> None:
    first, again, other = (Scene(TRAIN, seed, frames=4, size=SIZE).frame(2) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1].keypoint, again[1].keypoint)
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0], Scene(TEST, 5, frames=4, size=SIZE).frame(2)[0])


def test_visible_joints_are_inside_the_image_and_the_box() -> None:
    seen = hidden = 0
    for family in FAMILIES.values():
        for seed in range(12):
            scene = Scene(family, seed, frames=6, size=SIZE)
            picture, truth = scene.frame(3)
            assert picture.shape == (*SIZE, 3) and picture.dtype == np.uint8
            assert len(truth.box) == len(scene.actions) and scene.label == scene.actions[0]
            for keypoint, visibility, box in zip(truth.keypoint, truth.visibility, truth.box, strict=True):
                inside = keypoint[visibility != OUTSIDE]
                assert ((inside >= -0.5) & (inside <= (SIZE[1] - 0.5, SIZE[0] - 0.5))).all()
                assert ((inside >= box[:2] - 1) & (inside <= box[2:] + 1)).all()
                seen, hidden = seen + (visibility == SEEN).sum(), hidden + (visibility == HIDDEN).sum()
    assert seen > 2 * hidden > 0, "most joints are in sight, and some are hidden"


@pytest.mark.parametrize("place", PLACES)
def test_every_place_can_be_painted(place: str) -> None:
    painted = PLACES[place](np.random.default_rng(1), TRAIN, 60, 90)
    assert painted.shape == (60, 90, 3) and np.isfinite(painted).all() and painted.std() > 0.5


def test_no_degradation_returns_the_image_and_noise_has_its_strength() -> None:
    clean = Imaging(np.ones(3), 1.0, 0.0, 0.0, (0.0, 0.0), 1.0, 0.0, 100, 0.0)
    grey = np.full((*SIZE, 3), 120, np.float32)
    random = np.random.default_rng(0)
    np.testing.assert_array_equal(ImageDegradation(clean, SIZE, random).apply(grey), np.full((*SIZE, 3), 120))
    noisy = Imaging(np.ones(3), 1.0, 0.0, 0.0, (0.0, 0.0), 1.0, 6.0, 100, 0.0)
    assert ImageDegradation(noisy, SIZE, random).apply(grey).std() == pytest.approx(6.0, rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action": "waev"}, "unknown action 'waev'"),
        ({"action": "hug", "persons": 3}, "hug requires two persons, not 3"),
        ({"persons": 4}, "4 persons; choose 1, 2 or 3"),
        ({"frames": 0}, "cannot render 0 frames"),
    ],
)
def test_invalid_scenes_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Scene(TRAIN, 0, **options)


def test_clips_have_ground_truth(tmp_path: Path) -> None:
    clips = list(clips_of(TEST, ["hug", "wave"], 1, split="val", size=SIZE, frames=5))
    data = read_data_set(write_clips(clips, tmp_path))
    assert data["label_names"] == ["hug", "wave"]
    assert data["split"] == {"val": ["hug/test_0_000", "wave/test_0_000"]}
    for annotation, clip in zip(data["annotations"], clips, strict=True):
        assert annotation["frame_dir"] == clip.identifier
        persons = len(clip.scene.actions)
        assert annotation["keypoint"].shape == (persons, 5, 17, 2)
        assert annotation["visibility"].shape == (persons, 5, 17) and annotation["box"].shape == (persons, 5, 4)
        assert annotation["person_action"] == list(clip.scene.actions)
        np.testing.assert_array_equal(annotation["keypoint_score"] > 0, annotation["visibility"] != OUTSIDE)
        with VideoReader(tmp_path / annotation["source"]) as video:
            assert sum(1 for _ in video) == 5


def test_the_first_person_performs_the_action_of_the_scene(tmp_path: Path) -> None:
    clip = Clip("both", Scene(TRAIN, 1, action="squat", persons=2, frames=2, size=SIZE))
    annotation = read_data_set(write_clips([clip], tmp_path))["annotations"][0]
    assert annotation["label_name"] == "squat" and annotation["person_action"][0] == "squat"
    assert annotation["person_action"][1] in ACTIONS


def test_the_command_renders_clips_and_refuses_invalid_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["clips", "--out", str(tmp_path), "--frames", "2", "--actions"]
    monkeypatch.setattr(sys, "argv", [*command, "wave"])
    render_clips()
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "truth.pkl")
    monkeypatch.setattr(sys, "argv", [*command, "dance"])
    with pytest.raises(SystemExit, match=r"^clips: unknown action 'dance'"):
        render_clips()
