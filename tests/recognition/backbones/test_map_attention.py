"""Attention with the maps of a few heads at a time: results, and when it is used."""

import pytest
import torch
from torch.nn import functional

from recognition.backbones.layers import LONGEST_PLAIN, SelfAttention, goes_by_maps
from recognition.backbones.map_attention import LONGEST, attend_by_maps
from recognition.backbones.segments import Block

pytestmark = pytest.mark.processor


def made(*, sequences=3, heads=5, looking=7, tokens=11, width=4):
    """Queries, keys and values in the memory layout of a projection, and a gradient."""
    generator = torch.Generator().manual_seed(0)
    shape = (sequences, tokens, 3, heads, width)
    query, key, value = torch.randn(shape, generator=generator, dtype=torch.float64).permute(2, 0, 3, 1, 4).unbind(0)
    grad = torch.randn(sequences, heads, looking, width, generator=generator, dtype=torch.float64)
    return query[:, :, :looking], key, value, grad


@pytest.mark.parametrize("heads", [1, 4, 5])
def test_values_and_gradients_are_those_of_attention(heads):
    *inputs, grad = made(heads=heads)
    found = [part.clone().requires_grad_() for part in inputs]
    wanted = [part.clone().requires_grad_() for part in inputs]
    mixed = attend_by_maps(*found)
    plain = functional.scaled_dot_product_attention(*wanted)
    torch.testing.assert_close(mixed, plain)
    mixed.backward(grad)
    plain.backward(grad)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_bfloat16_gradients_of_a_layer_are_exact_up_to_rounding():
    torch.manual_seed(0)
    layer = SelfAttention(16, 4)
    x = torch.randn(2, LONGEST_PLAIN + 4, 16)
    grads = []
    for bf16 in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            out = layer(x)
        (out.float() * torch.arange(16)).sum().backward()
        grads.append(layer.qkv.weight.grad.clone())
    assert (grads[0] - grads[1]).norm() < 0.02 * grads[0].norm()


def test_only_long_bfloat16_sequences_use_map_attention():
    def goes(tokens, dtype):
        return goes_by_maps(torch.empty(1, 1, tokens, 1, dtype=dtype))

    assert goes(750, torch.bfloat16) and goes(LONGEST, torch.bfloat16)
    assert not goes(750, torch.float32)
    assert not goes(LONGEST_PLAIN, torch.bfloat16) and not goes(LONGEST + 1, torch.bfloat16)


def test_a_block_gives_the_same_output_for_a_subset_of_tokens():
    torch.manual_seed(0)
    block = Block(8, 2, 16)
    x, places = torch.randn(2, 6, 8), torch.tensor([[0, 2, 5], [1, 2, 3]])
    whole, _ = block(x)
    some, _ = block(x, places=places)
    torch.testing.assert_close(some, torch.stack([whole[0, [0, 2, 5]], whole[1, [1, 2, 3]]]))
