"""Puts base weights into the package, with a model card."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write
from recognition import runs
from recognition.packed import FOLDER, SUFFIX, write_packed
from recognition.run_file import portable
from synthetic.base.data import Source

MOST_BYTES = 8_000_000
_SYNTHETIC = """Synthetic motions are skeletons from `synthetic/motions`: combinations of movements of arms, legs and
trunk, seen by random cameras, with the errors of a pose estimator. No person was recorded for them.
"""
_REAL = """
Only training splits of real files were used. Real skeletons are research data; check the terms of their data sets
before any other use.
"""
# Names of the tensors of a recognizer, and of an encoder, in a run file.
RECOGNIZER, ENCODER = "recognizer.", "encoder."


def pack(run: Path, path: Path, content: Mapping[str, Any], *, prefix: str, exact: Container[str] = ()) -> None:
    """Write the tensors of a run file whose names start with `prefix`, and the rest of its content; see `write_packed`.

    Raises:
        UsageError: The weights are too large for the package.
    """
    own = {key: tensor for key, tensor in content["model"].items() if key.startswith(prefix)}
    size = sum(tensor.numel() * (tensor.element_size() if key in exact else 2) for key, tensor in own.items())
    if size > MOST_BYTES:
        raise UsageError(f"{run}: {size} bytes exceed the limit of {MOST_BYTES} for the package")
    write_packed(path, content, prefix=prefix, exact=exact)


def ship(run: Path, name: str, sources: Sequence[Source], command: str, *, folder: Path = FOLDER) -> Path:
    """Write the weights of a run as NAME.safetensors, NAME.json and NAME.md.

    Args:
        run: Directory of a finished training or pre-training; its last weights are used.
        name: Name of the weights.
        sources: Where the training clips come from.
        command: The command that made the weights.
        folder: Output folder; the package's by default.

    Returns:
        NAME.safetensors.

    Raises:
        UsageError: The weights are too large for the package.
        WeightsError: The run is unfinished or damaged.
    """
    content = portable(runs.load(runs.run_file(run, "last")))
    encoder = "method" in content
    content |= {
        "held_out": {},
        "estimator": None,
        "extraction": {},
        "sources": [asdict(source) for source in sources],
        "command": command,
    }
    path = folder / f"{name}{SUFFIX}"
    prefix = ENCODER if encoder else RECOGNIZER
    pack(run, path, content, prefix=prefix)
    with atomic_write(path.with_suffix(".md")) as file:
        file.write(card_of(path, content, sources, command).encode())
    return path


def card_of(path: Path, content: dict[str, Any], sources: Sequence[Source], command: str) -> str:
    """Return the model card of base weights, in Markdown."""
    rows = "".join(
        f"| {source.name} | {source.clips} | {source.classes} | {source.sha256 or 'made from the seed'} |\n"
        for source in sources
    )
    what = content.get("method") or content["settings"]["training"]["objective"]
    return f"""# {path.stem}

Weights that the training of a recognizer starts from. They know human motion, but no class of yours: start with
`skelpipe train --init {path.stem}` and train on labelled clips. On their own they recognise nothing useful.

- Made with `{command}`; objective: {what}, {content["epoch"]} epochs.
- Weights: half precision, {path.stat().st_size / 1e6:.2f} MB; settings, classes and digests are in `{path.stem}.json`.

| training data | clips | classes | SHA-256 of the file |
|---|---|---|---|
{rows}
{_SYNTHETIC}{_REAL if any(source.sha256 for source in sources) else ""}
Not suitable for: recognising actions without further training, identifying people, and any decision about people that
nobody checks.
"""
