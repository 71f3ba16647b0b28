"""The examples in the docstrings of `skelpipe` and on the page about Python, run as they stand."""

import doctest
import re
from pathlib import Path

import cv2
import pytest

import skelpipe
from synthetic.rendering.clips import Clip, write_clip
from synthetic.rendering.family import TEST
from synthetic.rendering.scene import Scene
from test_support.clips.drawn_world import needs
from test_support.doc_pages import blocks, page
from test_support.networks.trained_run import made_run

pytestmark = [pytest.mark.slow, needs("hrnet-tiny", "rtmdet-nano-rendered")]

# Objects that a user calls; the others are types of results.
DOCUMENTED = ("PoseEstimator", "Recognizer", "evaluate", "extract", "predict", "read_skeletons", "train")
DOCUMENTED += ("write_skeletons", "export_skeletons", "import_skeletons")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the files that the examples use: a video, an image, skeletons and a run."""
    root = tmp_path_factory.mktemp("examples")
    scene = Scene(TEST, 2**43, size=(360, 480), frames=6, fps=10.0, action="wave", persons=1)
    write_clip(Clip("wave", scene), root / "videos")
    assert cv2.imwrite(str(root / "person.png"), scene.frame(0)[0])
    run, data = made_run(root)
    run.rename(root / "runs" / "mine")
    skeletons = skelpipe.read_skeletons(data)
    skelpipe.write_skeletons(root / "skeletons" / "actions.pkl", skeletons)
    first = {"annotations": skeletons["annotations"][:1], "label_names": skeletons["label_names"]}
    skelpipe.write_skeletons(root / "skeletons" / "one-clip.pkl", first)
    return root


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_example_of_a_docstring_gives_what_it_shows(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    found = [test for test in doctest.DocTestFinder().find(getattr(skelpipe, name), name) if test.examples]
    assert len(found) == 1
    lines: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(found[0], out=lines.append)
    assert not result.failed, "".join(lines)


def test_the_examples_of_the_page_run(folder, tmp_path, monkeypatch, capsys):
    for name in ("videos", "person.png", "runs"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "skeletons").mkdir()
    (tmp_path / "skeletons" / "actions.pkl").symlink_to(folder / "skeletons" / "actions.pkl")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks(page("python.md"), "python"):
        exec(compile(code, "python.md", "exec"), names)
    printed = capsys.readouterr().out
    assert re.search(r"^1 videos extracted; \{\}\nwave \(1, 6, 17, 2\)$", printed, re.MULTILINE)
    assert "top-1" in printed and "clip47 " in printed and "missing.pkl" in printed
    assert "48 clips imported" in printed
