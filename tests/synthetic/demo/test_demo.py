"""A small demonstration with networks that detect a person in every image: output, resuming and errors."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.predict.options import Networks
from pose_extraction.errors import SkelpipeError, UsageError
from pose_extraction.formats.validation import read_data_set
from pose_extraction.video.reader import VideoReader
from synthetic.demo.drawing import LABELS_NAME
from synthetic.demo.plan import CLIPS, FIRST_SEED, NEW_CLIP, DemoPlan, orders, two_people
from synthetic.demo.report import DemoResult
from synthetic.demo.steps import ANSWERS, MARK, PAGE, demo
from synthetic.rendering.clips import TRUTH
from test_support.networks.tiny_networks import write_blind_detector, write_tiny_estimator

pytestmark = [pytest.mark.processor, pytest.mark.slow]

PLAN = DemoPlan(
    actions=("bow", "squat", "walk", "wave"),
    train_each=3,
    test_each=1,
    size=(72, 96),
    frames=6,
    fps=6.0,
    phase1_epochs=1,
    phase2_epochs=1,
    new_size=(96, 128),
    new_frames=8,
)


class Demonstration:
    """A completed demonstration: its folder, result and output."""

    def __init__(self, folder: Path, networks: Networks) -> None:
        self.folder, self.networks = folder, networks

    def run(self, plan: DemoPlan = PLAN) -> tuple[DemoResult, str]:
        output = io.StringIO()
        found = demo(self.folder, Console(file=output, width=200), plan=plan, networks=self.networks)
        return found, output.getvalue()


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> tuple[Demonstration, DemoResult, str]:
    folder = tmp_path_factory.mktemp("demo")
    networks = Networks(str(write_tiny_estimator(folder / "tiny.onnx")), str(write_blind_detector(folder / "b.onnx")))
    one = Demonstration(folder / "out", networks)
    return one, *one.run()


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    """Return inodes and times of expensive files, which change if a file is written again."""
    patterns = (f"{CLIPS}/**/*.mp4", "new/*.mp4", "skeletons/*/**/*.pkl", "run/last.safetensors")
    files = [path for one in patterns for path in folder.glob(one)]
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def test_each_step_is_reported_and_the_page_is_self_contained(demonstration) -> None:
    one, found, output = demonstration
    titles = re.findall(r"^\d+\. (.*?),? ?", output, re.MULTILINE)
    assert len(titles) == 8
    page = (one.folder / PAGE).read_text(encoding="utf-8")
    # No external resources: images and the video are embedded.
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) >= 6 and all(re.match(r"data:(image/(png|jpeg)|video/mp4);base64,", one) for one in sources)
    for command in ("extract", "stats", "train", "evaluate", "predict"):
        assert re.search(rf"^\S*skelpipe {command} ", output.replace("   $ ", ""), re.MULTILINE)
        assert re.search(rf"\S*skelpipe {command} ", page)
    metrics = found.evaluation.metrics
    assert metrics.clips == len(PLAN.actions) * PLAN.test_each
    assert f"{metrics.top1:.1%}" in page and f"{metrics.top1_interval[0]:.1%} to {metrics.top1_interval[1]:.1%}" in page
    assert re.search(r"skelpipe serve \S+\.mp4 --run \S+", output)
    assert "skelpipe extract videos/" in output and "skelpipe predict new_videos/" in output.splitlines()[-1]
    assert (one.folder / ANSWERS).read_text(encoding="utf-8").count("\n") == len(found.answers) > 0
    with VideoReader(found.overlay) as reader:
        assert sum(1 for _ in reader) == PLAN.new_frames


def test_a_second_run_keeps_finished_steps_and_continues(demonstration) -> None:
    one, found, _ = demonstration
    before = identities(one.folder)
    assert len(before) > 2 * PLAN.clips
    lost = next(one.folder.glob("skeletons/*/bow/*.pkl"))
    lost.unlink()
    again, output = one.run()
    after = identities(one.folder)
    assert {name for name in after if after[name] != before[name]} == {str(lost.relative_to(one.folder))}
    assert "1 clip extracted" in output and "already rendered" in output
    assert again.evaluation.metrics.top1 == found.evaluation.metrics.top1


def test_another_plan_replaces_the_previous_one_and_a_missing_network_is_named(tmp_path: Path) -> None:
    (tmp_path / MARK).write_text('{"digest": "of another plan"}')
    stale = tmp_path / CLIPS / "kick" / "train_000.mp4"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"old")
    small = replace(PLAN, actions=("wave",), train_each=1)
    with pytest.raises(SkelpipeError, match=r"nowhere\.onnx"):
        demo(tmp_path, Console(file=io.StringIO()), plan=small, networks=Networks("nowhere.onnx", "nowhere.onnx"))
    assert [path.name for path in sorted((tmp_path / CLIPS).glob("*/*"))] == ["test_000.mp4", "train_000.mp4"]
    assert not stale.exists()


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match=r"no demonstration wrote.*--out"):
        demo(tmp_path, Console(file=io.StringIO()), plan=PLAN)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_clips_are_labelled_and_split_by_family(demonstration) -> None:
    one, _, _ = demonstration
    rows = list(csv.DictReader((one.folder / CLIPS / LABELS_NAME).open(encoding="utf-8")))
    truth = {clip["frame_dir"]: clip for clip in read_data_set(one.folder / CLIPS / f"{TRUTH}.pkl")["annotations"]}
    assert len(rows) == PLAN.clips
    for row in rows:
        clip = truth[row["file"].removesuffix(".mp4")]
        assert (row["label"], row["split"]) == (clip["label_name"], clip["family"])
        assert clip["person_action"] == [row["label"]]


def test_clips_have_unique_seeds_outside_the_networks_training_range() -> None:
    seeds = [one.seed for one in orders(DemoPlan())]
    assert len(set(seeds)) == len(seeds) == DemoPlan().clips and min(seeds) == FIRST_SEED > 2**40


def test_the_two_people_of_the_new_clip_perform_two_trained_actions() -> None:
    scene = two_people(PLAN)
    assert len(set(scene.actions)) == 2 and set(scene.actions) <= set(PLAN.actions) and scene.family.name == "test"


def test_the_digest_changes_with_the_plan() -> None:
    assert PLAN.digest() == replace(PLAN).digest() != replace(PLAN, frames=7).digest()


def test_the_new_clip_has_ground_truth(demonstration) -> None:
    one, found, _ = demonstration
    (clip,) = read_data_set(one.folder / "new" / f"{TRUTH}.pkl")["annotations"]
    assert clip["frame_dir"] == NEW_CLIP and sorted(found.true_actions) == sorted(clip["person_action"])
