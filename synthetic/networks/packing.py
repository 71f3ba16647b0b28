"""Packs weights in half precision, with a model card that describes their purpose and accuracy."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write, sha256_of
from pose_extraction.networks.model_zoo import lookup
from pose_extraction.networks.weights import cached_path
from synthetic.networks.measuring import BoxCounts, JointCounts
from synthetic.networks.real_clips import Similarity
from synthetic.networks.recipes import Recipe

# Lowest accuracy on unseen people for a network in the package.
LEAST_PCK, LEAST_RECALL, LEAST_PRECISION = 0.9, 0.95, 0.95
# Heading on the card of a network shipped below these limits.
SHORT = "Below the target accuracy"
MOST_BYTES = 4_000_000


def pack(network: torch.nn.Module, path: Path) -> None:
    """Write the state dictionary of a network, with floating-point values in half precision.

    Args:
        network: Result of `training.train`.
        path: Output file, replaced atomically.
    """
    state = {
        name: tensor.half() if tensor.dtype.is_floating_point else tensor
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    with atomic_write(path) as file:
        torch.save(state, file)


@dataclass(frozen=True)
class Comparison:
    """Comparison with larger networks on real clips.

    Args:
        result: Counts of the comparison.
        frames: Number of frames.
        against: Names of the larger networks.
    """

    result: Similarity | BoxCounts
    frames: int
    against: str


def numbers_of(counts: JointCounts | BoxCounts | Similarity) -> dict[str, float]:
    """Return the measured values by name."""
    if isinstance(counts, Similarity):
        return {"OKS": counts.mean, **counts.by_joint}
    if isinstance(counts, JointCounts):
        return {"PCK@0.1": counts.pck, **counts.by_joint}
    return {"recall": counts.recall, "precision": counts.precision}


def ship(
    recipe: Recipe,
    weights: Path,
    counts: JointCounts | BoxCounts,
    scenes: int,
    compared: Comparison | None = None,
    *,
    below_target: bool = False,
) -> Path:
    """Add weights and their card to the package.

    Args:
        recipe: Recipe of the training.
        weights: File from `pack`.
        counts: Accuracy on scenes of the test family.
        scenes: Number of these scenes.
        compared: Comparison on real clips, or None.
        below_target: Ship the weights even if they miss the target accuracy; the card then says so.

    Returns:
        Path of the weights in the package.

    Raises:
        UsageError: The weights are not accurate enough, or too large.
    """
    numbers = numbers_of(counts)
    least = {"PCK@0.1": LEAST_PCK, "recall": LEAST_RECALL, "precision": LEAST_PRECISION}
    poor = [f"{name} {numbers[name]:.3f} < {limit}" for name, limit in least.items() if numbers.get(name, 1.0) < limit]
    if poor and not below_target:
        raise UsageError(
            f"{weights}: {recipe.name} is not accurate enough ({', '.join(poor)} on unseen rendered people); add a "
            "cycle in synthetic/networks/recipes.py and continue the training, or ship it with --below-target"
        )
    content = weights.read_bytes()
    if len(content) > MOST_BYTES:
        raise UsageError(f"{weights}: {len(content)} bytes exceed the limit of {MOST_BYTES} for the package")
    target = cached_path(lookup(recipe.name))
    with atomic_write(target) as file:
        file.write(content)
    with atomic_write(target.with_suffix(".md")) as file:
        card = card_of(recipe, target, numbers, scenes, compared)
        short = f"\n\n**{SHORT}:** {', '.join(poor)}.\n\n"
        file.write((card.replace("\n\n", short, 1) if poor else card).encode())
    return target


def card_of(
    recipe: Recipe, weights: Path, numbers: dict[str, float], scenes: int, compared: Comparison | None = None
) -> str:
    """Return the card of a network, in Markdown."""
    values = {key: value for key, value in asdict(recipe).items() if key not in ("name", "kind", "config", "package")}
    values |= {"cycles": f"{_joined(recipe.cycles)} steps", "revisit": _joined(recipe.revisit)}
    settings = ", ".join(f"{key} {value}" for key, value in values.items())
    return f"""# {recipe.name}

A small network for demonstrations and tests on machines without other weights. It was trained only on rendered people
(`synthetic/rendering`) and does not replace a network that was trained on photographs.

- Trained with `python -m synthetic.networks train {recipe.name}` (seed 0):
  {settings}.
- Weights: half precision, {weights.stat().st_size / 1e6:.2f} MB, SHA-256 {sha256_of(weights)}, Apache-2.0.

On {scenes} scenes of bodies, clothes, movements, places and cameras that training never uses, four frames each, over
persons with at least five visible joints (`python -m synthetic.networks measure {recipe.name}`):

{_table(numbers)}
{"" if compared is None else _on_real_clips(compared)}"""


def _joined(numbers: tuple[int, ...]) -> str:
    return " + ".join(map(str, numbers))


def _table(numbers: dict[str, float]) -> str:
    rows = "".join(f"| {name} | {value:.3f} |\n" for name, value in numbers.items())
    return f"| measure | value |\n|---|---|\n{rows}"


def _on_real_clips(compared: Comparison) -> str:
    result, where = compared.result, f"On {compared.frames} frames of real clips (`--videos`)"
    if isinstance(result, Similarity):
        what = (
            f"{where}, in the boxes of {result.persons} persons, similarity to\nthe confident joints of "
            f"{compared.against}: exp(-d^2 / (2 A k^2)) as in COCO's OKS, by joint:"
        )
    else:
        what = f"{where}, relative to the {result.total} persons found by {compared.against}:"
    return f"""
{what}

{_table(numbers_of(result))}"""
