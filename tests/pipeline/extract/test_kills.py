"""A run that is killed at any moment and restarted gives the same result as an uninterrupted one."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from test_support.networks.made_runs import all_files
from test_support.processes import kill_driver

pytestmark = pytest.mark.slow

KILLS = 21


def test_a_killed_and_restarted_run_gives_the_same_files(networks, clips, tmp_path):
    videos = tmp_path / "videos"
    shutil.copytree(clips, videos)
    (videos / "wave" / "broken.mp4").write_bytes(b"\0" * 500)
    driver = Path(kill_driver.__file__)
    arguments = [videos, *networks, tmp_path / "out", 7, KILLS]
    done = subprocess.run(
        [sys.executable, str(driver), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stderr
    kills = [json.loads(line) for line in done.stdout.splitlines()]
    reference = all_files(tmp_path / "out" / "counted")
    assert {name for name in reference if not name.endswith((".pkl", ".mp4"))} == {
        "tiny_pose/errors.jsonl",
        "tiny_pose/notes.jsonl",
    }
    assert len(reference) == 4 + 4 + 3
    untouched = 0
    for kill in kills:
        assert kill["killed"] == -9, kill
        assert kill["resumed"] == 0, kill
        assert all_files(tmp_path / "out" / kill["name"]) == reference, kill["event"]
        # Only the clips in progress are processed again; complete files are not rewritten.
        for name, identity in kill["left"].items():
            overlay = name.removesuffix(".pkl") + ".mp4"
            if name.startswith("tiny_pose/") and name.endswith(".pkl") and "/." not in name and overlay in kill["left"]:
                status = (tmp_path / "out" / kill["name"] / name).stat()
                assert [status.st_ino, status.st_mtime_ns] == identity, (kill["event"], name)
                untouched += 1
    # The kills must be spread over the run, with some clips finished and some not.
    assert Counter(kill["stage"] for kill in kills) == {"decoding": 7, "writing": 7, "merging": 7}
    assert len({tuple(kill["event"]) for kill in kills}) >= 15
    assert sum(any("/." in name for name in kill["left"]) for kill in kills) >= 3
    assert len({len(kill["left"]) for kill in kills}) >= 5
    assert KILLS < untouched < 4 * KILLS
