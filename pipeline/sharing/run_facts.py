"""What the files of a run say about it: its settings, its data, and what was measured."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pose_extraction.errors import UsageError
from pose_extraction.files import sha256_of
from recognition import run_folder, run_names, runs
from recognition.hub import address_of, described
from recognition.packed import card_of_packed, is_packed
from recognition.run_file import load_facts

EVALUATIONS, ROBUSTNESS = "evaluation", "robustness.json"


@dataclass(frozen=True)
class RunFacts:
    """What is known about a run.

    Args:
        name: Name of the run.
        weights: The file of weights.
        content: Content of that file without weights.
        about: Content of `about.json`; empty if the file was copied out of its run.
        split: Names of clips by part, from `split.json`; None without this file.
        evaluations: Results of `skelpipe evaluate` for these weights, the newest first.
        robustness: Results of `skelpipe robustness` for these weights; None if they were not measured.
        method: Name of these weights in `robustness`.
        card: Model card that weights of the package come with, Markdown; None for other runs.
    """

    name: str
    weights: Path
    content: Mapping[str, Any]
    about: Mapping[str, Any]
    split: Mapping[str, list[str]] | None
    evaluations: list[dict[str, Any]]
    robustness: dict[str, Any] | None
    method: str | None
    card: str | None = None

    @property
    def reference(self) -> str:
        """How commands in the card name the run: its address on a hub, its name in the package, or runs/NAME."""
        address = address_of(self.weights)
        if address is not None:
            return str(address)
        return self.name if is_packed(self.weights) else f"{run_names.RUNS}/{self.name}"

    @property
    def is_encoder(self) -> bool:
        """Whether the run is a pre-training."""
        return "method" in self.content


def facts_of(run: str | Path, *, robustness: Path = Path("robustness")) -> RunFacts:
    """Read the files of a run. Weights are not loaded.

    Args:
        run: A run directory, or one of its files of weights.
        robustness: Folder of `skelpipe robustness`, which need not exist or contain this run.

    Raises:
        WeightsError: The run does not exist or is damaged.
        UsageError: One of its JSON files is damaged.
    """
    weights = runs.saved_file(run)
    content = load_facts(weights)
    folder = weights.parent
    table, method = _robustness_of(robustness / ROBUSTNESS, weights)
    return RunFacts(
        name=run_names.name_of(weights),
        weights=weights,
        content=content,
        about=_read(folder / run_folder.ABOUT_NAME) or {},
        split=_read(folder / run_folder.SPLIT_NAME),
        evaluations=list(_evaluations_of(run_names.results_folder(weights), weights, content.get("epoch"))),
        robustness=table,
        method=method,
        card=card_of_packed(weights),
    )


def _evaluations_of(folder: Path, weights: Path, epoch: int | None) -> Iterator[dict[str, Any]]:
    """Yield the results for these weights; a training that was continued may have replaced those of a result."""
    found = list(folder.glob(f"{EVALUATIONS}/*/evaluation.json"))
    digest = sha256_of(weights) if found else ""
    for path in sorted(found, key=lambda path: (-path.stat().st_mtime_ns, path.parent.name)):
        result = _read(path) or {}
        # A protocol lists several runs and digests; the first run is measured.
        if "sha256" in result:
            is_same = digest == (result["sha256"] if "run" in result else result["sha256"][0])
        else:
            # Results of earlier versions have no digest.
            of = result.get("run") or next(iter(result.get("runs", ())), "")
            is_same = of == described(weights) or Path(of).stem == weights.stem
            is_same &= result.get("epoch", epoch) == epoch
        if "top1" in result and is_same:
            yield result


def _robustness_of(path: Path, weights: Path) -> tuple[dict[str, Any] | None, str | None]:
    results = _read(path)
    if results is None:
        return None, None
    digest = sha256_of(weights)
    method = next((run["method"] for run in results.get("runs", ()) if run.get("sha256") == digest), None)
    return (results, method) if method is not None else (None, None)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); delete it, or measure the run again") from error
    return content if isinstance(content, dict) else {}
