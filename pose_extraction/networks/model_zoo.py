"""The model table: official weights, configuration, accuracy and licence by model name.

Addresses, configurations and AP come from the indexes shipped with mmpose, mmdet and openpifpaf. `model_zoo.yaml` adds
missing information, and replaces the indexes if the packages are not installed. Indexes are read as text without
importing the packages, so that listing models neither loads network code nor uses OpenPifPaf.
"""

import ast
import difflib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.networks.vitpose.architecture import Architecture

# Included in most builds of PyYAML, and ten times as fast as the Python loader.
_YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Default minimum score of a person for detectors.
SCORE_THRESHOLD = 0.3
# Start of the address of a file on the hub of models: hf://OWNER/NAME/FILE.
HUB_PREFIX = "hf://"
# Families whose publishers name no digest, and the suffix of their files.
UNVERIFIED = {"vitpose": ".safetensors", "onnx": ".onnx"}
_DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{8})(?:_\d{8})?\.(?:pth|pkl)$")


@dataclass(frozen=True)
class WheelFiles:
    """Networks inside a wheel of the package registry.

    Args:
        project: Name of the package.
        version: Its version.
        files: SHA-256 of each file by its path in the wheel.
    """

    project: str
    version: str
    files: Mapping[str, str]

    @property
    def names(self) -> str:
        """Names of the files without folders, for messages."""
        return " and ".join(Path(name).name for name in self.files)


@dataclass(frozen=True)
class ModelEntry:
    """A network with published weights.

    Args:
        name: Name for `--estimator` and `--detector`.
        kind: "estimator" or "detector".
        family: Library that publishes the network: "mmpose", "mmdet" or "openpifpaf"; "blazepose" and "vitpose" are
            built here, "onnx" is an archive with an ONNX file.
        package: Package that contains `config`; differs from `family` for mmpose's own detectors.
        config: Path below the package's `.mim` folder, or below this package; for openpifpaf, the name of the base
            network.
        url: HTTPS address of the official file, or hf://OWNER/NAME/FILE on the hub of models; empty for weights that
            come with this project.
        digest: First 8 hexadecimal digits of the file's SHA-256, which are part of the file name; empty if `url` is, or
            if the publisher names none.
        other_digests: First digits of the SHA-256 of other published files of the same model.
        input_size: (height, width) in pixels; None for any size.
        ap: Published average precision in [0, 1]; None if unknown.
        ap_set: Data set on which `ap` was measured.
        licence: SPDX identifier.
        size: Size of the file in bytes; None if unknown.
        parameters: Number of weights; a file in fp32 has about four bytes per weight.
        person_class: Index of the class "person" in a detector's output; None for an estimator.
        score_threshold: Default minimum score of a person for a detector, in [0, 1].
        aliases: Further names of the model.
        shipped: Path below `pose_extraction` of weights that come with this project; None for others.
        wheel: Files in a package that contain the network; None for others.
        detector: Detector that an estimator runs with unless another is named; None for the general default.
        vitpose: Sizes of a ViTPose network, which this project builds by itself; None for others.
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
    wheel: WheelFiles | None = None
    score_threshold: float = SCORE_THRESHOLD
    detector: str | None = None
    vitpose: Architecture | None = None

    @property
    def filename(self) -> str:
        """Name of the weights file, or of the folder of several files."""
        if self.wheel is not None:
            return f"{self.wheel.project}-{self.wheel.version}"
        if self.family in UNVERIFIED:
            # Files on the hub all have the same name; in archives, too.
            return f"{self.name}{UNVERIFIED[self.family]}"
        return (self.shipped or self.url).rsplit("/", 1)[-1]


def all_models() -> tuple[ModelEntry, ...]:
    """Return all models, estimators first, in the order of the table."""
    return tuple(_entries().values())


def lookup(name: str, kind: str | None = None) -> ModelEntry:
    """Find a model by name or alias.

    Args:
        name: Case-insensitive name.
        kind: "estimator" or "detector"; None for both.

    Returns:
        The model.

    Raises:
        UsageError: The model does not exist; the message suggests the most similar name.
    """
    # Reversed, because a name that an estimator shares with its detector means the estimator, which comes first.
    names = {
        alias: entry
        for entry in reversed(all_models())
        if kind in (None, entry.kind)
        for alias in (entry.name, *entry.aliases)
    }
    found = names.get(name.lower())
    if found is None:
        near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        raise UsageError(f"unknown {kind or 'model'} {name!r}{hint} `skelpipe models` lists all models")
    return found


def digest_in_name(url: str) -> str:
    """Return the 8 hexadecimal SHA-256 digits that OpenMMLab and OpenPifPaf include in file names.

    Args:
        url: Address of the file.

    Raises:
        WeightsError: The name contains no digest.
    """
    match = _DIGEST_IN_NAME.search(url)
    if match is None:
        raise WeightsError(f"{url}: the file name contains no digest, so a download could not be verified")
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
    shipped, wheel, vitpose = row.get("shipped"), row.get("wheel"), row.get("vitpose")
    row["url"] = "" if shipped or wheel else _secured(row["url"])
    size = row.get("input_size")
    return ModelEntry(
        name=name,
        kind=row["kind"],
        family=row["family"],
        package=package,
        config=row.get("config", ""),
        url=row["url"],
        digest="" if shipped or wheel or row["family"] in UNVERIFIED else digest_in_name(row["url"]),
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
        wheel=WheelFiles(**wheel) if wheel else None,
        score_threshold=row.get("score_threshold", SCORE_THRESHOLD),
        detector=row.get("detector"),
        vitpose=_vitpose(size, vitpose) if size and vitpose else None,
    )


def _secured(url: str) -> str:
    return url if url.startswith(HUB_PREFIX) else urlsplit(url)._replace(scheme="https").geturl()


def _vitpose(size: Sequence[int], row: Mapping[str, Any]) -> Architecture:
    channels = tuple(row.get("deconvolutions", ()))
    return Architecture(input_size=(size[0], size[1]), **{**row, "deconvolutions": channels})


def _from_index(package: str, config: str, index_name: str) -> dict[str, Any]:
    """Return the information in the installed package's index; empty if the package or model does not exist."""
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
            # mmdet publishes AP in percent, mmpose as a fraction.
            row["ap"] = round(metrics["box AP"] / 100, 4)
    return {key: value for key, value in row.items() if value is not None}


@lru_cache(maxsize=8)
def _metafile_models(mim: Path, folder: str) -> tuple[Mapping[str, Any], ...]:
    """Return the models in one folder of the package's index, without reading the other metafiles."""
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
    """Return OpenPifPaf's checkpoint table, parsed from its source because of the package's licence."""
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
    """Return the folder of an installed package without importing it."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _read_yaml(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_YamlLoader)
