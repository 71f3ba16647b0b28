"""The table of models: which official file, configuration, accuracy and licence belong to a name.

Addresses, configurations and AP come from the indexes that mmpose, mmdet and openpifpaf ship; `model_zoo.yaml` fills in
what those leave out and stands in for them where the packages are not installed. Nothing is imported to read an index:
a package is located and its index read as text, so that listing models loads no network code and leaves OpenPifPaf
untouched.
"""

import ast
import difflib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from pose_extraction.errors import UsageError, WeightsError

# Compiled into most builds of PyYAML, and ten times as fast as the loader written in Python.
_YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Score below which a box is no person, of detectors that have no other.
SCORE_THRESHOLD = 0.3
_DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{8})(?:_\d{8})?\.(?:pth|pkl)$")


@dataclass(frozen=True)
class ModelEntry:
    """One network with published weights.

    Args:
        name: As `--estimator` and `--detector` spell it.
        kind: "estimator" or "detector".
        family: Whose code builds the network: "mmpose", "mmdet" or "openpifpaf".
        package: The package that ships `config`; differs from `family` for mmpose's own detectors.
        config: Path below the package's `.mim` folder, or below our own; for openpifpaf the name of its base network.
        url: Address of the official file, always https; empty for weights that come with this project.
        digest: First 8 hexadecimal digits of the file's SHA-256, as the file's name carries them; empty likewise.
        other_digests: Further beginnings of a SHA-256 under which the same model is in circulation.
        input_size: (height, width) in pixels; None where any size will do.
        ap: Published average precision in [0, 1], None if nobody published one.
        ap_set: What `ap` was measured on.
        licence: SPDX identifier.
        size: Bytes of the file, None where unknown.
        parameters: Number of weights; a file in fp32 has about four bytes for each.
        person_class: Index of the class "person" in a detector's output, None for an estimator.
        score_threshold: Score below which a detector's box is no person, unless another one is given.
        aliases: Other names for the same entry.
        shipped: Weights that come with this project, below `pose_extraction`; None where they are downloaded.
    """

    name: str
    kind: str
    family: str
    package: str
    config: str
    url: str
    digest: str
    other_digests: tuple[str, ...]
    input_size: tuple[int, int] | None
    ap: float | None
    ap_set: str | None
    licence: str
    size: int | None
    parameters: int
    person_class: int | None
    aliases: tuple[str, ...]
    shipped: str | None = None
    score_threshold: float = SCORE_THRESHOLD

    @property
    def filename(self) -> str:
        return (self.shipped or self.url).rsplit("/", 1)[-1]


def all_models() -> tuple[ModelEntry, ...]:
    """Every model, estimators first, in the order of the table."""
    return tuple(_entries().values())


def lookup(name: str, kind: str | None = None) -> ModelEntry:
    """The model of that name or alias.

    Args:
        name: Case does not matter.
        kind: "estimator" or "detector" where only one of the two will do.

    Raises:
        UsageError: There is no such model; the nearest name is suggested.
    """
    names = {
        alias: entry for entry in all_models() if kind in (None, entry.kind) for alias in (entry.name, *entry.aliases)
    }
    found = names.get(name.lower())
    if found is None:
        near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}" if near else ""
        raise UsageError(f"there is no {kind or 'model'} {name!r}{hint}; `skelpipe models` lists all of them")
    return found


def score_threshold_of(detector: str) -> float:
    """Score below which a detector's box is no person; the usual one of a file that is none of the table's."""
    try:
        return lookup(detector, "detector").score_threshold
    except UsageError:
        return SCORE_THRESHOLD


def digest_in_name(url: str) -> str:
    """The 8 hexadecimal digits of a SHA-256 that OpenMMLab and OpenPifPaf put into the names of their files.

    Raises:
        WeightsError: The name carries none.
    """
    match = _DIGEST_IN_NAME.search(url)
    if match is None:
        raise WeightsError(f"{url}: the file's name carries no digest, so a download could not be checked")
    return match[1]


@lru_cache(maxsize=1)
def _entries() -> Mapping[str, ModelEntry]:
    table = _read_yaml(Path(__file__).with_name("model_zoo.yaml"))
    return {name: _entry(name, dict(row)) for name, row in table.items()}


def _entry(name: str, row: dict[str, Any]) -> ModelEntry:
    index_name = row.pop("index", None)
    package = row.setdefault("package", row["family"])
    if index_name is not None:
        row |= _from_index(package, row["config"], index_name)
    shipped = row.get("shipped")
    row["url"] = "" if shipped else urlsplit(row["url"])._replace(scheme="https").geturl()
    size = row.get("input_size")
    return ModelEntry(
        name=name,
        kind=row["kind"],
        family=row["family"],
        package=package,
        config=row["config"],
        url=row["url"],
        digest="" if shipped else digest_in_name(row["url"]),
        other_digests=tuple(row.get("other_digests", ())),
        input_size=(size[0], size[1]) if size else None,
        ap=row.get("ap"),
        ap_set=row.get("ap_set"),
        licence=row["licence"],
        size=row.get("size"),
        parameters=row["parameters"],
        person_class=row.get("person_class"),
        aliases=tuple(row.get("aliases", ())),
        shipped=shipped,
        score_threshold=row.get("score_threshold", SCORE_THRESHOLD),
    )


def _from_index(package: str, config: str, index_name: str) -> dict[str, Any]:
    """What the installed package's own index says of a model; empty where the package or the model is not there."""
    root = _package_folder(package)
    if root is None:
        return {}
    if package == "openpifpaf":
        url = _openpifpaf_urls(root).get(index_name)
        return {"url": url} if url else {}
    for model in _metafile_models(root / ".mim", str(Path(config).parent)):
        if model.get("Name") == index_name:
            return _index_row(model)
    return {}


def _index_row(model: Mapping[str, Any]) -> dict[str, Any]:
    row = {"url": model.get("Weights"), "config": model.get("Config")}
    for result in model.get("Results", ()):
        metrics = result.get("Metrics", {})
        if "AP" in metrics:
            row["ap"] = metrics["AP"]
        elif "box AP" in metrics:
            # mmdet gives its AP in percent, mmpose as a fraction.
            row["ap"] = round(metrics["box AP"] / 100, 4)
    return {key: value for key, value in row.items() if value is not None}


@lru_cache(maxsize=8)
def _metafile_models(mim: Path, folder: str) -> tuple[Mapping[str, Any], ...]:
    """Models of those metafiles that the package's index imports from one folder, not the hundred of the rest."""
    index = mim / "model-index.yml"
    if not index.is_file():
        return ()
    models: list[Mapping[str, Any]] = []
    for metafile in _read_yaml(index).get("Import", ()):
        if str(Path(metafile).parent) == folder and (mim / metafile).is_file():
            content = _read_yaml(mim / metafile)
            models += content.get("Models", ()) if isinstance(content, dict) else content
    return tuple(models)


@lru_cache(maxsize=1)
def _openpifpaf_urls(root: Path) -> Mapping[str, str]:
    """OpenPifPaf's table of checkpoints, taken from the source text: importing it would bring its licence along."""
    source = root / "plugins" / "coco" / "__init__.py"
    if not source.is_file():
        return {}
    urls: dict[str, str] = {}
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Assign)
            and isinstance(target := node.targets[0], ast.Subscript)
            and isinstance(target.value, ast.Attribute)
            and target.value.attr == "CHECKPOINT_URLS"
            and isinstance(target.slice, ast.Constant)
            and isinstance(node.value, ast.Constant)
        ):
            urls[str(target.slice.value)] = str(node.value.value)
    return urls


def _package_folder(package: str) -> Path | None:
    """Where a top-level package is installed, without importing it."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _read_yaml(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_YamlLoader)
