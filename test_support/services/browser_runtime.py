"""ONNX Runtime for browsers, as published on npm, in the folder for files that can be downloaded again."""

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

from pose_extraction.cache import default_cache_dir

PACKAGE, VERSION = "onnxruntime-web", "1.23.0"
DIGEST = "7e0074d9319fdef002bcf28ef73eb119dd6302083fa0395ec560cb4e5ca0970b"
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


class RuntimeMissingError(Exception):
    """The package cannot be obtained here."""


def browser_runtime() -> Path:
    """Return the folder with `FILES`, downloaded at the first call.

    Raises:
        RuntimeMissingError: npm is not installed or cannot reach its registry.
    """
    folder = default_cache_dir() / f"{PACKAGE}-{VERSION}"
    if all((folder / name).is_file() for name in FILES):
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeMissingError("npm is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run([npm, "pack", f"{PACKAGE}@{VERSION}"], cwd=folder, check=True, capture_output=True, timeout=300)
    except (subprocess.SubprocessError, OSError) as error:
        raise RuntimeMissingError(f"npm cannot download {PACKAGE}@{VERSION} ({error})") from error
    archive = folder / f"{PACKAGE}-{VERSION}.tgz"
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert found == DIGEST, f"{archive} has the digest {found}"
    with tarfile.open(archive) as file:
        for name in FILES:
            content = file.extractfile(f"package/dist/{name}")
            assert content is not None
            (folder / name).write_bytes(content.read())
    archive.unlink()
    return folder
