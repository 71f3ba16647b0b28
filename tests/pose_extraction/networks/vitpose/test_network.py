"""This project's ViTPose compared with mmpose's, and with a plain reference for the parts that mmpose lacks."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pose_extraction.engines.engine import Engine
from pose_extraction.engines.tensor_file import write_tensors
from pose_extraction.errors import UsageError, WeightsError
from pose_extraction.networks.estimators import load_estimator
from pose_extraction.networks.identity import NetworkOptions, identify
from pose_extraction.networks.model_zoo import all_models, lookup
from pose_extraction.networks.openmmlab import mmlab, mmlab_packages
from pose_extraction.networks.vitpose.architecture import Architecture
from pose_extraction.networks.vitpose.estimator import vitpose_network
from pose_extraction.networks.vitpose.network import build
from pose_extraction.networks.vitpose.weights import with_own_names

pytestmark = pytest.mark.processor

TINY = Architecture((64, 48), dim=12, depth=2, heads=3)
CLASSIC = dataclasses.replace(TINY, deconvolutions=(8, 8))
PLUS = dataclasses.replace(CLASSIC, expert_dim=5)
without_mmpose = pytest.mark.skipif(bool(mmlab_packages.missing_packages()), reason="mmpose is not installed")


def random_weights(architecture: Architecture) -> dict[str, torch.Tensor]:
    """Random numbers for all weights, also those that a new network has as zero or one."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.rand(tensor.shape, generator=generator) * 0.4 + 0.1
        if "running_var" in name
        else torch.randn(tensor.shape, generator=generator) * 0.3
        for name, tensor in build(architecture).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def network_with(weights: dict[str, torch.Tensor], architecture: Architecture) -> torch.nn.Module:
    network = build(architecture)
    network.load_state_dict(weights, strict=False)
    return network


def as_hugging_face(own: dict[str, torch.Tensor], architecture: Architecture) -> dict[str, torch.Tensor]:
    """The weights as a file in Hugging Face's format has them, with the experts of two more data sets."""
    named: dict[str, torch.Tensor] = {}
    renamed = {
        "patches": "backbone.embeddings.patch_embeddings.projection",
        "norm": "backbone.layernorm",
        "head.convolution": "head.conv",
        "head.deconvolutions.0": "head.deconv1",
        "head.deconvolutions.1": "head.batchnorm1",
        "head.deconvolutions.3": "head.deconv2",
        "head.deconvolutions.4": "head.batchnorm2",
    }
    inside = {
        "norm1": "layernorm_before",
        "project": "attention.output.dense",
        "norm2": "layernorm_after",
        "up": "mlp.fc1",
        "down": "mlp.fc2",
        "expert": "mlp.experts.experts.0",
    }
    for name, tensor in own.items():
        layer, _, kind = name.rpartition(".")
        if name == "position":
            cls = torch.full((1, 1, architecture.dim), 0.25)
            named["backbone.embeddings.position_embeddings"] = torch.cat([cls, tensor - cls], dim=1)
        elif layer in renamed:
            named[f"{renamed[layer]}.{kind}"] = tensor
        else:
            _, number, part = layer.split(".")
            stem = f"backbone.encoder.layer.{number}."
            if part == "query_key_value":
                for word, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                    named[f"{stem}attention.attention.{word}.{kind}"] = piece
            else:
                named[f"{stem}{inside[part]}.{kind}"] = tensor
                if part == "expert":
                    for other in (1, 2):
                        named[f"{stem}mlp.experts.experts.{other}.{kind}"] = torch.zeros_like(tensor)
    return named


@pytest.mark.slow
@without_mmpose
@pytest.mark.parametrize("name", ["vitpose-b", "vitpose-s", "vitpose-tiny"])
def test_heat_maps_equal_those_of_mmpose(name: str) -> None:
    entry = lookup(name, "estimator")
    theirs, _ = mmlab.build_topdown(entry.config, package=entry.package, seed=2)
    assert entry.vitpose is not None
    weights, architecture = with_own_names(theirs.state_dict(), entry.vitpose, "test")
    ours = network_with(weights, architecture)
    images = torch.randn(2, 3, *architecture.input_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = mmlab.heatmap_function(theirs)(images)
        actual = ours(images)
    assert float(expected.abs().max()) > 0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.slow
@without_mmpose
def test_both_builders_give_the_same_poses() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    box = np.array([[40, 20, 160, 230], [150, 10, 290, 220]], np.float32)
    poses = []
    for builder in ("auto", "mmpose"):
        options = NetworkOptions(Engine("cpu", "torch", "fp32"), builder=builder, flip_test=True)
        estimator = load_estimator(identify("estimator", "vitpose-tiny", options=options), options)
        poses.append(estimator.estimate(estimator.crop(picture, box)))
    np.testing.assert_allclose(poses[0][0], poses[1][0], rtol=0, atol=1e-2)
    np.testing.assert_allclose(poses[0][1], poses[1][1], rtol=0, atol=1e-5)


def test_the_builder_is_a_fact_of_the_results() -> None:
    own = identify("estimator", "vitpose-tiny", options=NetworkOptions(Engine("cpu", "torch")))
    theirs = identify("estimator", "vitpose-tiny", options=NetworkOptions(Engine("cpu", "torch"), builder="mmpose"))
    assert own.facts()["built_by"] == "skelpipe"
    assert theirs.facts()["built_by"].startswith("mmpose ")
    with pytest.raises(UsageError, match="mmpose has no vitpose-plus-s"):
        identify("estimator", "vitpose-plus-s", checkpoint="seed:1", options=NetworkOptions(builder="mmpose"))


@pytest.mark.parametrize("architecture", [TINY, CLASSIC, PLUS], ids=["simple", "classic", "plus"])
def test_output_equals_the_plain_reference(architecture: Architecture) -> None:
    """Tokens, attention, experts and heads, written out in float64 loops."""
    weights = {name: tensor.double() for name, tensor in random_weights(architecture).items()}
    network = network_with(weights, architecture).double()
    image = torch.randn(3, *architecture.input_size, generator=torch.Generator().manual_seed(3)).double()
    with torch.inference_mode():
        actual = network(image[None])[0]
    np.testing.assert_allclose(actual, reference(image, weights, architecture), rtol=0, atol=1e-9)


def reference(image: torch.Tensor, weights: dict[str, torch.Tensor], architecture: Architecture) -> np.ndarray:
    value = {name: tensor.numpy() for name, tensor in weights.items()}
    rows, columns = architecture.grid
    padded = np.pad(image.numpy(), ((0, 0), (2, 2), (2, 2)))
    tokens = np.stack(
        [
            np.tensordot(value["patches.weight"], padded[:, 16 * r : 16 * r + 16, 16 * c : 16 * c + 16], 3)
            + value["patches.bias"]
            for r in range(rows)
            for c in range(columns)
        ]
    )
    tokens = tokens + value["position"][0]
    for block in range(architecture.depth):
        layer = {name.split(".", 2)[2]: v for name, v in value.items() if name.startswith(f"blocks.{block}.")}
        tokens = tokens + attention(normalised(tokens, layer, "norm1"), layer, architecture.heads)
        hidden = gelu(linear(normalised(tokens, layer, "norm2"), layer, "up"))
        parts = [linear(hidden, layer, "down")]
        if architecture.expert_dim:
            parts.append(linear(hidden, layer, "expert"))
        tokens = tokens + np.concatenate(parts, axis=1)
    tokens = normalised(tokens, value, "norm")
    features = tokens.T.reshape(architecture.dim, rows, columns)
    if not architecture.deconvolutions:
        return convolved(enlarged(np.maximum(features, 0)), value)
    for index in (0, 3):
        features = deconvolved(features, value[f"head.deconvolutions.{index}.weight"])
        norm = {k: value[f"head.deconvolutions.{index + 1}.{k}"][:, None, None] for k in
                ("weight", "bias", "running_mean", "running_var")}  # fmt: skip
        features = (features - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5)
        features = np.maximum(features * norm["weight"] + norm["bias"], 0)
    return (
        np.einsum("jc,chw->jhw", value["head.convolution.weight"][:, :, 0, 0], features)
        + value["head.convolution.bias"][:, None, None]
    )


def linear(x: np.ndarray, layer: dict[str, np.ndarray], name: str) -> np.ndarray:
    return x @ layer[f"{name}.weight"].T + layer[f"{name}.bias"]


def normalised(x: np.ndarray, layer: dict[str, np.ndarray], name: str) -> np.ndarray:
    centred = x - x.mean(1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-6)
    return scaled * layer[f"{name}.weight"] + layer[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def attention(x: np.ndarray, layer: dict[str, np.ndarray], heads: int) -> np.ndarray:
    query, key, value = np.split(linear(x, layer, "query_key_value"), 3, axis=1)
    size = x.shape[1] // heads
    seen = []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        weight = np.exp(query[:, own] @ key[:, own].T / np.sqrt(size))
        seen.append(weight / weight.sum(1, keepdims=True) @ value[:, own])
    return linear(np.concatenate(seen, axis=1), layer, "project")


def enlarged(features: np.ndarray) -> np.ndarray:
    """Four times as large; between the centres of cells values are interpolated, beyond them they are constant."""
    _, rows, columns = features.shape
    at = [np.clip((np.arange(4 * n) + 0.5) / 4 - 0.5, 0, n - 1) for n in (rows, columns)]
    result = features
    for axis, places in zip((1, 2), at, strict=True):
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, result.shape[axis] - 1)
        share = (places - low).reshape((-1, 1) if axis == 1 else (1, -1))
        result = np.take(result, low, axis) * (1 - share) + np.take(result, high, axis) * share
    return result


def convolved(features: np.ndarray, value: dict[str, np.ndarray]) -> np.ndarray:
    padded = np.pad(features, ((0, 0), (1, 1), (1, 1)))
    _, height, width = features.shape
    result = np.zeros((17, height, width)) + value["head.convolution.bias"][:, None, None]
    for dy in range(3):
        for dx in range(3):
            kernel = value["head.convolution.weight"][:, :, dy, dx]
            result += np.einsum("jc,chw->jhw", kernel, padded[:, dy : dy + height, dx : dx + width])
    return result


def deconvolved(features: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Each cell adds its kernel of 4 x 4 to the output of twice the size, one cell further out at the border."""
    _, height, width = features.shape
    result = np.zeros((kernel.shape[1], 2 * height + 2, 2 * width + 2))
    for y in range(height):
        for x in range(width):
            result[:, 2 * y : 2 * y + 4, 2 * x : 2 * x + 4] += np.tensordot(features[:, y, x], kernel, 1)
    return result[:, 1:-1, 1:-1]


@pytest.mark.parametrize("architecture", [CLASSIC, PLUS], ids=["base", "plus"])
def test_files_in_hugging_faces_format_are_read(architecture: Architecture) -> None:
    own = random_weights(architecture)
    table = dataclasses.replace(architecture, expert_dim=3 if architecture.expert_dim else 0)
    weights, found = with_own_names(as_hugging_face(own, architecture), table, "model.safetensors")
    # The file decides how long the expert's part is.
    assert found == architecture
    assert weights.keys() == own.keys()
    for name, tensor in own.items():
        torch.testing.assert_close(weights[name], tensor)


class RandomNumbers(TorchDispatchMode):
    """Counts the tensors in memory that are filled with random numbers."""

    drawn = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags and result.device.type != "meta":
            self.drawn += 1
        return result


@pytest.mark.parametrize("architecture", [CLASSIC, PLUS], ids=["base", "plus"])
def test_a_file_is_read_without_drawing_random_weights(architecture: Architecture, tmp_path: Path) -> None:
    published = as_hugging_face(random_weights(architecture), architecture)
    own, _ = with_own_names(published, architecture, "model.safetensors")
    path = tmp_path / "model.safetensors"
    write_tensors(path, published, ("format", "pt"))
    state = torch.get_rng_state()
    with RandomNumbers() as random:
        network, _, _ = vitpose_network(architecture, path)
    assert random.drawn == 0 and torch.equal(torch.get_rng_state(), state)
    crops = torch.randn(2, 3, *architecture.input_size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(crops), network_with(own, architecture)(crops))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, own[name] if name in own else torch.tensor(0)), name
    with RandomNumbers() as random:
        build(architecture)
    assert random.drawn > 0


def test_another_networks_file_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"hrnet\.pth: contains no ViTPose.*'stem\.weight'"):
        with_own_names({"stem.weight": torch.zeros(1)}, TINY, "hrnet.pth")
    strange = as_hugging_face(random_weights(CLASSIC), CLASSIC) | {"backbone.neck.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"'backbone\.neck\.weight' belongs to no layer of ViTPose"):
        with_own_names(strange, CLASSIC, "model.safetensors")


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        Architecture((100, 48), dim=12, depth=1, heads=3)


def test_files_without_a_published_digest_have_names_of_their_own() -> None:
    entries = [entry for entry in all_models() if entry.family == "vitpose"]
    assert {entry.filename for entry in entries} == {
        *(f"vitpose-plus-{size}.safetensors" for size in "sblh"),
        "vitpose-base.safetensors",
    }
    assert all(entry.url.startswith("hf://") and not entry.digest for entry in entries)
