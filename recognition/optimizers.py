"""torch's optimisers without torch's compiler.

torch's methods import the compiler only to be left out of compiled code. The import takes longer than that of torch
itself. These are the same methods without that wrapper; nothing here compiles a step of an optimiser.
"""

from inspect import unwrap

import torch
from torch.optim import Optimizer


class _NotCompiled(Optimizer):
    """Methods that all optimisers share."""

    add_param_group = unwrap(Optimizer.add_param_group)
    load_state_dict = unwrap(Optimizer.load_state_dict)
    state_dict = unwrap(Optimizer.state_dict)
    zero_grad = unwrap(Optimizer.zero_grad)


class AdamW(_NotCompiled, torch.optim.AdamW):
    """AdamW of torch; arguments are those of `torch.optim.AdamW`, except for `differentiable`."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))


class SGD(_NotCompiled, torch.optim.SGD):
    """SGD of torch; arguments are those of `torch.optim.SGD`, except for `differentiable`."""

    step = torch.no_grad()(unwrap(torch.optim.SGD.step))
