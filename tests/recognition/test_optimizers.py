"""Optimisers without torch's compiler make the steps of torch's own."""

from types import ModuleType
from typing import Any

import pytest
import torch

from recognition import optimizers


def trained_with(place: ModuleType, name: str, settings: dict[str, Any]) -> torch.nn.Module:
    """Return a small network after three steps, and three more with an optimiser that continues from its state."""
    network = torch.nn.Linear(5, 5)
    with torch.no_grad():
        network.weight.copy_(torch.linspace(-1, 1, 25).view(5, 5))
        network.bias.fill_(0.5)
    state = None
    for _ in range(2):
        groups = [{"params": [network.weight]}, {"params": [network.bias], "lr": 0.3}]
        optimizer = getattr(place, name)(groups, lr=0.1, **settings)
        if state is not None:
            optimizer.load_state_dict(state)
        for _ in range(3):
            optimizer.zero_grad()
            network(torch.eye(5)).square().sum().backward()
            optimizer.step()
        state = optimizer.state_dict()
    return network


# torch's own optimisers import its compiler.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [("AdamW", {"weight_decay": 0.1, "fused": True}), ("AdamW", {"betas": (0.8, 0.9)}), ("SGD", {"momentum": 0.9})],
)
def test_steps_equal_those_of_torch_also_after_a_restart(name: str, settings: dict[str, Any]) -> None:
    ours, theirs = (trained_with(place, name, settings) for place in (optimizers, torch.optim))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
