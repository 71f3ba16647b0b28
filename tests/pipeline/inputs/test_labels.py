"""Sources of labels, splits and groups."""

from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.inputs.label_table import TableRow, read_label_table, table_as_csv
from pipeline.inputs.labels import ClipLabel, load_labels, settle_labels
from pipeline.inputs.ntu import applicable_splits, ntu_name
from pipeline.inputs.videos import Source, survey
from pose_extraction.errors import AnnotationError, UsageError
from pose_extraction.formats.person_labels import Anchor, PersonLabel


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder with fight/1.mp4, calm/1.mp4 and a long recording."""
    for name in ("fight/1.mp4", "calm/1.mp4", "long recording.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def table(folder: Path, text: str | bytes) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def clips(folder: Path, text: str | bytes) -> dict[str, ClipLabel]:
    sources = survey([folder]).sources
    labels = load_labels(table(folder, text), sources)
    return {clip.frame_dir: clip for source in sources for clip in labels.clips_of(source)}


def test_an_ntu_name_gives_label_and_splits() -> None:
    source = Source(Path("x.avi"), "S018C002P045R002A013", "x.avi", "folder")
    (clip,) = load_labels("auto", [source]).clips_of(source)
    assert clip.label_name == "A013"
    assert clip.splits == ("xsub_train", "xview_train", "xset_train")


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("S001C001P003R001A001", ("xsub_val", "xview_val", "xset_val")),
        ("S002C003P038R001A060", ("xsub_train", "xview_train", "xset_train")),
        ("S032C001P106R002A120", ("xsub_val", "xview_val", "xset_train")),
        ("S031C001P103R002A061", ("xsub_train", "xview_val", "xset_val")),
    ],
)
def test_the_official_rules(name: str, splits: tuple[str, ...]) -> None:
    published = ntu_name(f"{name}_rgb.avi")
    assert published is not None and published.splits == splits


def test_the_number_of_training_persons_is_as_published() -> None:
    def trains(person: int) -> bool:
        published = ntu_name(f"S001C001P{person:03d}R001A001")
        return published is not None and published.splits[0] == "xsub_train"

    assert sum(trains(person) for person in range(1, 41)) == 20
    assert sum(trains(person) for person in range(1, 107)) == 53


@pytest.mark.parametrize(
    ("other", "kept"),
    [
        ("S017C002P001R001A060", {"xsub_train", "xview_train"}),
        ("S018C002P001R001A060", {"xsub_train", "xset_train"}),
        ("S017C002P001R001A061", {"xsub_train", "xset_train"}),
    ],
)
def test_xview_belongs_to_ntu_60_and_xset_to_ntu_120(other: str, kept: set[str]) -> None:
    names = ["S002C002P001R001A001", other]
    assert set(applicable_splits({name: names for name in ("xsub_train", "xview_train", "xset_train")})) == kept
    assert set(applicable_splits({"xset_train": names})) == {"xset_train"}


def test_folders_are_labels_and_the_one_split_is_all(videos: Path) -> None:
    sources = survey([videos]).sources
    found = [clip for source in sources for clip in load_labels("auto", sources).clips_of(source)]
    assert [(clip.frame_dir, clip.label_name, clip.splits) for clip in found] == [
        ("calm/1", "calm", ("all",)),
        ("fight/1", "fight", ("all",)),
        ("long recording", None, ("all",)),
    ]
    assert all(clip.label_name is None for source in sources for clip in load_labels("none", sources).clips_of(source))


def test_a_table_gives_label_split_and_group(videos: Path) -> None:
    found = clips(videos, "file,label,split,group\nfight/1.mp4,fight,train|fold1,7\ncalm/1.mp4,calm,test,8\n")
    assert found["fight/1"] == ClipLabel("fight/1", "fight", ("train", "fold1"), "7")
    assert found["calm/1"] == ClipLabel("calm/1", "calm", ("test",), "8")
    assert found["long recording"] == ClipLabel("long recording", None, ())


def test_a_table_without_splits_has_one_split(videos: Path) -> None:
    found = clips(videos, "file,label\nfight/1.mp4,fight\n")
    assert found["fight/1"].splits == found["calm/1"].splits == ("all",)


def test_segments_of_a_long_video_are_clips(videos: Path) -> None:
    found = clips(videos, "file,label,start,end\nlong recording.mp4,wave,0.5,12.25\nlong recording.mp4,fall,12.25,\n")
    assert found["long recording_0.5_12.25"].label_name == "wave"
    assert (found["long recording_0.5_12.25"].start, found["long recording_0.5_12.25"].end) == (0.5, 12.25)
    assert found["long recording_12.25_end"].end is None


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbffile,label\nfight/1.mp4,fight\n",
        "file;label\r\nfight/1.mp4;fight\r\n",
        "file\tlabel\n\nfight/1.mp4\tfight",
        " Label , FILE \n fight , ./fight/1.mp4 \n",
        'file,label,note\n"fight/1.mp4","fight","with, comma"\n',
        "file,label\nfight\\1.mp4,fight\n",
    ],
)
def test_tables_written_by_common_programs(videos: Path, text: str | bytes) -> None:
    assert clips(videos, text)["fight/1"].label_name == "fight"


def test_numbers_are_used_as_labels_unchanged(videos: Path) -> None:
    assert clips(videos, "file,label\nfight/1.mp4,007\n")["fight/1"].label_name == "7"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("file,label\n", "empty"),
        ("file,split\nfight/1.mp4,train\n", "line 1: no column 'label'"),
        ("fight/1.mp4,fight\n", "line 1: no column 'file'"),
        ("file,label,label\nfight/1.mp4,a,b\n", "twice"),
        ("file,label\nfight/1.mp4,fight\nfight/2.mp4,fight\n", r"line 3: there is no file 'fight/2\.mp4'.*correct"),
        ("file,label,start,end\nfight/1.mp4,a,5,3\n", "line 2: end 3 is not after start 5"),
        ("file,label,start\nfight/1.mp4,a,soon\n", "line 2: start 'soon'"),
        ('file;label;start\nfight/1.mp4;a;"1,5"\n', r"line 2: start '1,5'.*12\.5"),
        ("file,label,start\nfight/1.mp4,a,-1\n", "'-1' is not a valid time"),
        ("file,label,end\nfight/1.mp4,a,nan\n", "'nan' is not a valid time"),
        ("file,label\nfight/1.mp4,1\ncalm/1.mp4,calm\n", "line 2: 1, line 3: calm"),
        ("file,label,start\nfight/1.mp4,a,1_000\n", "line 2: start '1_000' is not a number of seconds"),
        ("file,label\nfight/1.mp4,20230101\n", "line 2: label 20230101 is too large"),
        (f"file,label\nfight/1.mp4,{'9' * 5000}\n", "line 2: label 9+ is too large"),
        (f"file,label\n{'a' * 5000},b\n", "line 2: there is no file"),
        ("file,label\n\\,a\n", "line 2: no file"),
        ("file,label\nfight/1.mp4,a\n./fight/1.mp4,b\n", "line 3: fight/1.mp4 is already on line 2"),
        ("file,label\nfight/1.mp4,a\ncalm/../fight/1.mp4,b\n", r"line 3: calm/\.\./fight/1\.mp4 is already on line 2"),
        ("file,label,end\nfight/1.mp4,a,3\nfight/1.mp4,b,3\n", "line 3: the segment 0 to 3"),
        ("file,label\nfight/1.mp4,a,b\n", "line 2: 3 values for 2 columns"),
        ("file,label\n,a\n", "line 2: no file"),
        ('file,label\n"fight/1.mp4,a\n', "line 2: not valid CSV"),
        (b"file,label\nfight/1.mp4,Pr\xfcgelei\n", "line 2: not UTF-8"),
        ("file,label\nfight/1.mp4,a\n".encode("utf-16"), "not UTF-8"),
    ],
)
def test_errors_in_a_table_name_the_line(videos: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(AnnotationError, match=message) as caught:
        clips(videos, text)
    assert "labels.csv" in str(caught.value)


def test_crossing_groups_and_unlisted_videos_give_warnings(videos: Path) -> None:
    path = table(videos, "file,label,split,group\nfight/1.mp4,a,train,g7\ncalm/1.mp4,b,test,g7\n")
    warnings = load_labels(path, survey([videos]).sources).warnings
    assert len(warnings) == 2 and "'g7'" in warnings[0] and "1 of 3 videos (long recording.mp4)" in warnings[1]
    lines = [f"fight/1.mp4,a,{split},{group},{group}" for group in range(9) for split in ("train", "test")]
    rows = [f"{line},{second},{second + 1}" for second, line in enumerate(lines)]
    path = table(videos, "\n".join(["file,label,split,group,track,start,end", *rows]))
    (warning, *_) = load_labels(path, survey([videos]).sources).warnings
    assert "9 groups (the first: group '0') are on both sides of a split" in warning


def test_a_table_finds_files_through_links_and_other_unicode_forms(videos: Path) -> None:
    (videos / "Cafe\u0301.mp4").touch()
    (videos / "linked.mp4").symlink_to(videos / "fight" / "1.mp4")
    found = clips(videos, "file,label\nCaf\u00e9.mp4,wave\nfight/1.mp4,fight\n")
    assert found["Cafe\u0301"].label_name == "wave"
    assert found["linked"].label_name == "fight"


def test_an_unknown_choice_of_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="atuo"):
        load_labels("atuo", [])


def test_the_real_table_labels_every_clip(shared_data: Path) -> None:
    sources = survey([shared_data / "videos" / "fight"]).sources
    labels = load_labels(shared_data / "videos" / "fight" / "split.csv", sources)
    found = [clip for source in sources for clip in labels.clips_of(source)]
    assert len(found) == 160 and labels.warnings == []
    assert {clip.label_name for clip in found} == {"fight", "noFight"}
    assert sum(clip.splits == ("train",) for clip in found) == 117


def test_rows_with_a_track_or_an_anchor_label_persons_of_the_video(videos: Path) -> None:
    found = clips(
        videos,
        "file,label,split,start,end,track,anchor_time,anchor_box\n"
        "fight/1.mp4,punch,train,1,2.5,2,,\n"
        'fight/1.mp4,dodge,test,,,,3.2,"120, 80, 60.5, 150"\n',
    )
    clip = found["fight/1"]
    assert clip.label_name is None and clip.splits == ("train", "test") and clip.start is None
    assert clip.persons == (
        PersonLabel("punch", 2, None, 1.0, 2.5, ("train",)),
        PersonLabel("dodge", None, Anchor(3.2, (120.0, 80.0, 60.5, 150.0)), splits=("test",)),
    )


def test_persons_belong_to_the_segments_that_they_overlap(videos: Path) -> None:
    found = clips(
        videos,
        "file,label,start,end,track\nlong recording.mp4,calm,0,5,\nlong recording.mp4,fight,5,,\n"
        "long recording.mp4,wave,4,6,1\nlong recording.mp4,fall,6,7,1\n",
    )
    names = {clip: [person.label_name for person in label.persons] for clip, label in found.items()}
    assert names["long recording_0_5"] == ["wave"] and names["long recording_5_end"] == ["wave", "fall"]
    # Without splits in the table, those of the clip apply.
    assert found["long recording_0_5"].persons[0].splits is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,,,two,,", "line 2: track 'two' is not a track number"),
        ("a,,,-1,,", "line 2: track '-1'"),
        ("a,,,,1,", "line 2: anchor_box is empty"),
        ("a,,,,,1 2 3 4", "line 2: anchor_time is empty"),
        ("a,,,,1,1 2 3", "line 2: anchor_box '1 2 3' is not a box"),
        ("a,,,,1,1 2 0 4", "line 2: anchor_box '1 2 0 4' is not a box"),
        ("a,,,,nan,1 2 3 4", "line 2: anchor_time 'nan'"),
        ("a,0,2,3,,\nfight/1.mp4,b,1,3,3,,", "line 3: track 3 of fight/1.mp4 has a label at 1 s on line 2"),
        ("a,,,,1,1 2 3 4\nfight/1.mp4,b,,,,1.0,1 2 3 4", "line 3: fight/1.mp4 is already on line 2"),
    ],
)
def test_wrong_persons_are_refused(videos: Path, row: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        clips(videos, f"file,label,start,end,track,anchor_time,anchor_box\nfight/1.mp4,{row}\n")


def test_a_person_on_both_sides_of_a_split_gives_a_warning(videos: Path) -> None:
    path = table(videos, "file,label,split,start,end,track\nfight/1.mp4,a,train,0,1,2\nfight/1.mp4,b,test,1,2,2\n")
    (warning, *_) = load_labels(path, survey([videos]).sources).warnings
    assert "track 2 of fight/1.mp4 is on both sides of a split" in warning


def test_labels_from_names_keep_those_of_persons() -> None:
    stored = ClipLabel("a", "wave", persons=(PersonLabel("jump", 3),))
    kept, _ = settle_labels([ClipLabel("a", "fight")], "names", {"a": stored}, "table")
    assert kept == [stored]
    assert settle_labels([ClipLabel("a")], "none", {"a": stored}, "table")[0][0].persons == ()


text = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=8)
names = text.filter(lambda name: not name.isdigit())
times = st.floats(0, 1e4).map(lambda value: round(value, 3))
boxes = st.tuples(*[st.floats(-1e4, 1e4)] * 2, *[st.floats(0.1, 1e4)] * 2)


@st.composite
def table_rows(draw: st.DrawFn) -> list[TableRow]:
    rows = []
    for number in range(draw(st.integers(1, 6))):
        anchor = draw(st.none() | st.builds(Anchor, times, boxes))
        start = draw(st.none() | times)
        end = (
            None
            if draw(st.booleans())
            else (start or 0.0) + draw(st.floats(0.1, 99).map(lambda value: round(value, 3)))
        )
        splits = tuple(dict.fromkeys(draw(st.lists(text.map(lambda name: name.replace("|", "x")), max_size=3))))
        # One file for each row, because labels of one track must not overlap.
        file = PurePosixPath(f"{number}", draw(text).replace("/", "x").replace("\\", "x").strip(".") or "x")
        track = draw(st.none() | st.integers(0, 99))
        rows.append(TableRow(number + 2, file, draw(names), splits, draw(st.none() | text), start, end, track, anchor))
    return rows


@settings(max_examples=60, deadline=None)
@given(table_rows())
def test_a_table_that_is_written_and_read_has_the_same_rows(rows: list[TableRow]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "labels.csv")
        path.write_text(table_as_csv(rows), encoding="utf-8")
        assert read_label_table(path).rows == tuple(rows)
