"""Other programs read the shards as they are."""

from pathlib import Path

import numpy as np
import pytest

from pose_extraction.formats.shards.update import write_shards
from test_support.clips.made_data_sets import made_ntu60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("made") / "ntu.parquet"
    data = made_ntu60(24, classes=4)
    for clip in data["annotations"]:
        clip["person_time"] = np.arange(3)
    write_shards(folder, data)
    return folder, {clip["frame_dir"]: clip for clip in data["annotations"]}


def check(row: dict, clips: dict) -> None:
    clip = clips[row["frame_dir"]]
    keypoint = np.array(row["keypoint"], np.float32).reshape(list(row["keypoint_shape"]))
    assert np.array_equal(keypoint, clip["keypoint"].astype(np.float32))
    assert np.array_equal(np.array(row["keypoint_score"]), clip["keypoint_score"].astype(np.float32).ravel())
    assert list(row["img_shape"]) == [1080, 1920] and row["total_frames"] == clip["total_frames"]


def test_polars(made: tuple[Path, dict]) -> None:
    polars = pytest.importorskip("polars")
    folder, clips = made
    labels = polars.read_parquet(folder / "labels.parquet")
    table = polars.scan_parquet(folder / "clips" / "*.parquet").join(
        labels.lazy().select("frame_dir", "label"), on="frame_dir"
    )
    rows = table.collect().to_dicts()
    assert len(rows) == 24
    for row in rows:
        check(row, clips)
        assert row["label"] == clips[row["frame_dir"]]["label"]


def test_duckdb(made: tuple[Path, dict]) -> None:
    duckdb = pytest.importorskip("duckdb")
    folder, clips = made
    found = duckdb.sql(f"select * from '{folder}/clips/*.parquet' where total_frames > 60 order by frame_dir")
    names = [column[0] for column in found.description]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    assert len(rows) == sum(clip["total_frames"] > 60 for clip in clips.values())
    for row in rows:
        check(row, clips)
    query = f"select count(*) from '{folder}/labels.parquet' where list_contains(splits, 'xsub_train')"
    assert duckdb.sql(query).fetchall()[0][0] > 0


@pytest.mark.slow
def test_hugging_face_datasets(made: tuple[Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    folder, clips = made
    files = sorted(map(str, (folder / "clips").iterdir()))
    table = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert len(table) == 24
    for row in table:
        check(row, clips)
    streamed = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    assert next(iter(streamed))["frame_dir"] in clips
