"""Weights of half precision as a file, and the card that says what they are for and how good they are."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from pipeline.tiny.measuring import BoxCounts, JointCounts
from pipeline.tiny.real_clips import Similarity
from pipeline.tiny.recipes import Recipe
from pose_extraction.errors import UsageError
from pose_extraction.files import atomic_write, sha256_of
from pose_extraction.model_zoo import lookup
from pose_extraction.weights import cached_path

# What a network must reach on people that it has never seen, before it goes into the package.
LEAST_PCK, LEAST_RECALL, LEAST_PRECISION = 0.9, 0.95, 0.95
# What the card says of a network that was shipped although it does not.
SHORT = "Short of its mark"
MOST_BYTES = 4_000_000


def pack(network: torch.nn.Module, path: Path) -> None:
    """Writes a network's bare state dictionary, in half precision where it has fractions.

    Args:
        network: As `training.train` returns it.
        path: The file, put in place by rename.
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
    """How a network does beside larger ones on real clips.

    Args:
        result: What was counted.
        frames: On how many frames.
        against: The larger networks, named.
    """

    result: Similarity | BoxCounts
    frames: int
    against: str


def numbers_of(counts: JointCounts | BoxCounts | Similarity) -> dict[str, float]:
    """What was measured, by name."""
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
    even_short: bool = False,
) -> Path:
    """Puts weights into the package, with their card beside them.

    Args:
        recipe: How they were trained.
        weights: As `pack` wrote them.
        counts: How well they do on `scenes` scenes of the testing family.
        scenes: How many.
        compared: How they do on real clips, where there were any.
        even_short: Ship them although they are poorer than they should be; the card says so at once.

    Returns:
        Where the weights lie now.

    Raises:
        UsageError: They are too poor, or too large, to be shipped.
    """
    numbers = numbers_of(counts)
    least = {"PCK@0.1": LEAST_PCK, "recall": LEAST_RECALL, "precision": LEAST_PRECISION}
    poor = [f"{name} {numbers[name]:.3f} < {limit}" for name, limit in least.items() if numbers.get(name, 1.0) < limit]
    if poor and not even_short:
        raise UsageError(
            f"{weights}: {recipe.name} is too poor to be shipped ({', '.join(poor)} on unseen drawn people); give it "
            "another cycle in pipeline/tiny/recipes.py and train it on, or ship it with --even-short"
        )
    content = weights.read_bytes()
    if len(content) > MOST_BYTES:
        raise UsageError(f"{weights}: {len(content)} bytes are more than the {MOST_BYTES} that may be shipped")
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
    """The card of a network, Markdown."""
    told = {key: value for key, value in asdict(recipe).items() if key not in ("name", "kind", "config", "package")}
    told |= {"cycles": f"{_joined(recipe.cycles)} steps", "revisit": _joined(recipe.revisit)}
    settings = ", ".join(f"{key} {value}" for key, value in told.items())
    return f"""# {recipe.name}

A small network for demonstrations and tests on machines that have no others. It was trained on drawn people alone
(`pipeline/rendering`) and is no substitute for one that was trained on photographs.

- Trained with `python -m pipeline.tiny train {recipe.name}` (seed 0):
  {settings}.
- Weights: half precision, {weights.stat().st_size / 1e6:.2f} MB, SHA-256 {sha256_of(weights)}, Apache-2.0.

On {scenes} scenes of bodies, clothes, movements, places and cameras that training never draws from, four frames each,
over persons of whom five joints or more are in sight (`python -m pipeline.tiny measure {recipe.name}`):

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
            f"{where}, in the boxes of {result.persons} persons, how like its\njoints are to those that "
            f"{compared.against} is sure of: exp(-d^2 / (2 A k^2)) as in COCO's OKS, joint by joint:"
        )
    else:
        what = f"{where}, against the {result.total} persons of {compared.against}:"
    return f"""
{what}

{_table(numbers_of(result))}"""
