"""Discovery of videos, and their ids."""

import os
from pathlib import Path

import pytest

from pipeline.inputs.videos import survey
from pose_extraction.errors import UsageError


def made(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def ids(*paths: str | Path) -> list[str]:
    return [source.frame_dir for source in survey(paths).sources]


def test_ids_are_paths_below_the_folder_without_suffix(tmp_path: Path) -> None:
    folder = made(tmp_path, "b/1.mp4", "a/1.mp4", "a/Zürich am See.MOV", "a/v1.2.mkv", "top.webm")
    assert ids(folder) == ["a/1", "a/Zürich am See", "a/v1.2", "b/1", "top"]
    assert [source.relative for source in survey([folder]).sources][:2] == ["a/1.mp4", "a/Zürich am See.MOV"]


def test_an_ntu_name_is_the_id_as_published(tmp_path: Path) -> None:
    folder = made(tmp_path, "nturgb/S001C002P003R002A013_rgb.avi", "nturgb/XS001C002P003R002A0139.avi")
    assert ids(folder) == ["S001C002P003R002A013", "nturgb/XS001C002P003R002A0139"]


def test_an_ntu_name_may_be_in_small_letters(tmp_path: Path) -> None:
    (tmp_path / "s001c002p003r002a013_rgb.avi").touch()
    (source,) = survey([tmp_path]).sources
    assert source.frame_dir == "S001C002P003R002A013"


@pytest.mark.parametrize("name", ["%d.jpg", "frame%05d.png"])
def test_a_pattern_of_image_names_is_answered_with_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"pattern of image names, .* give the folder {tmp_path} instead"):
        survey([tmp_path / name])


def test_videos_that_differ_in_suffix_always_keep_it(tmp_path: Path) -> None:
    folder = made(tmp_path, "a.mp4", "a.avi", "b.mp4", "c.mp4", "c/0001.png", "d.mp4", "d.txt")
    assert ids(folder) == ["a.avi", "a.mp4", "b", "c", "c.mp4", "d"]
    assert ids(folder / "a.mp4") == ["a.mp4"]
    assert ids(folder / "c.mp4") == ["c.mp4"]


def test_two_videos_with_the_same_id_are_an_error_that_names_both(tmp_path: Path) -> None:
    folder = made(tmp_path, "x/1.mp4", "y/1.mp4")
    with pytest.raises(UsageError, match=r"x/1\.mp4.*y/1\.mp4.*'1'"):
        survey([folder / "x", folder / "y"])
    assert ids(folder) == ["x/1", "y/1"]


def test_a_repeated_video_is_used_once(tmp_path: Path) -> None:
    folder = made(tmp_path, "x/1.mp4")
    assert ids(folder, folder / "x" / "1.mp4", folder / "x" / ".." / "x") == ["x/1"]


def test_a_folder_of_images_is_a_video_but_a_cover_is_not(tmp_path: Path) -> None:
    folder = made(tmp_path, "wave/clip1/0001.jpg", "wave/clip1/0002.jpg", "fall/clip2/1.png", "cover.jpg", "v.mp4")
    found = {source.frame_dir: source.kind for source in survey([folder]).sources}
    assert found == {"fall/clip2": "images", "v": "video", "wave/clip1": "images"}
    only = survey([folder / "wave" / "clip1"]).sources
    assert [(source.frame_dir, source.kind) for source in only] == [("clip1", "images")]


def test_other_files_are_skipped_and_counted(tmp_path: Path) -> None:
    folder = made(tmp_path, "a.mp4", "b.csv", "c.csv", "README", ".hidden.mp4", ".cache/x.mp4", ".a.pkl.part")
    made(folder, "out/a.pkl", "out/a.webm", "out/b.overlay.webm")
    inputs = survey([folder])
    assert [source.frame_dir for source in inputs.sources] == ["a"]
    assert inputs.skipped[".csv"] == 2 and inputs.skipped[""] == 1


def test_a_single_file_may_have_any_suffix(tmp_path: Path) -> None:
    assert ids(made(tmp_path, "recording.bin") / "recording.bin") == ["recording"]


def test_ids_of_a_pattern_are_relative_to_its_fixed_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path, "wave/1.mp4", "fall/1.mp4", "fall/note.txt", "fall/.x.mp4")
    assert ids(folder / "*" / "*") == ["fall/1", "wave/1"]
    assert ids(str(folder / "**")) == ["fall/1", "wave/1"]
    monkeypatch.chdir(folder / "wave")
    assert ids("*.mp4") == ["1"] and ids(".") == ["1"]


def test_a_name_with_brackets_is_a_file_first(tmp_path: Path) -> None:
    assert ids(made(tmp_path, "take [1].mp4") / "take [1].mp4") == ["take [1]"]


@pytest.mark.parametrize("name", ["absent", "*.mp4", "empty", "texts"])
def test_an_empty_result_suggests_a_remedy(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    made(tmp_path, "texts/a.txt")
    with pytest.raises(UsageError, match=r"check|give its name"):
        survey([tmp_path / name])
    with pytest.raises(UsageError):
        survey([])


def test_names_that_are_not_utf8_can_be_written_as_text(tmp_path: Path) -> None:
    made(tmp_path, os.fsdecode(b"caf\xe9.mp4"))
    (identifier,) = ids(tmp_path)
    assert identifier == "caf\\xe9" and identifier.encode()


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    real = made(tmp_path / "real", "1.mp4")
    folder = made(tmp_path / "given", "2.mp4")
    (folder / "linked").symlink_to(real)
    (folder / "circle").symlink_to(folder)
    assert ids(folder) == ["2", "linked/1"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_without_read_permission_is_reported(tmp_path: Path) -> None:
    folder = made(tmp_path, "open/1.mp4", "shut/2.mp4")
    (folder / "shut").chmod(0)
    inputs = survey([folder])
    (folder / "shut").chmod(0o755)
    assert [source.frame_dir for source in inputs.sources] == ["open/1"]
    assert inputs.unreadable[0][0] == folder / "shut"


def test_folders_are_classes_if_there_are_at_least_two(tmp_path: Path) -> None:
    folder = made(tmp_path, "two/train/wave/1.mp4", "two/test/fall/2.mp4", "two/3.mp4", "flat/1.mp4", "flat/2.mp4")

    def labels(*paths: Path) -> list[str | None]:
        return [source.folder_label for source in survey(paths).sources]

    assert labels(folder / "two") == [None, "fall", "wave"]
    assert labels(folder / "flat") == [None, None]
    assert labels(folder / "two" / "test") == [None]
    assert labels(folder / "two" / "test" / "fall", folder / "two" / "train" / "wave") == ["fall", "wave"]
    assert labels(folder / "flat" / "1.mp4", folder / "two" / "3.mp4") == [None, None]


def test_the_real_clips_have_unique_ids(shared_data: Path) -> None:
    found = ids(shared_data / "videos")
    assert len(found) == len(set(found)) > 160
    assert "S001C001P001R001A001" in found and "fight/fight/fi002" in found
    assert {"clips/mmaction2/test.avi", "clips/mmaction2/test.mp4"} <= set(found)
