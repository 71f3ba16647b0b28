"""A GRU layer with as few and as large matrix products as possible.

Only the recurrent product of a GRU step depends on the previous step. The product with the inputs is computed for all
steps at once, and so is the product for the weight gradients in the backward pass, which torch's own CPU implementation
accumulates step by step. Under autocast the products are in bfloat16 while the state stays in float32.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class GRULayer(nn.GRU):
    """One unidirectional GRU layer, time first; the parameter names are those of `nn.GRU`.

    Args:
        inputs: Input width.
        hidden: H, width of the state.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden)

    weight_ih_l0: torch.Tensor
    weight_hh_l0: torch.Tensor
    bias_ih_l0: torch.Tensor
    bias_hh_l0: torch.Tensor

    def forward(  # type: ignore[override]
        self, x: torch.Tensor, state: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the states after each step, (T, N, H).

        Args:
            x: float (T, N, inputs).
            state: float (N, H), state before the first step; defaults to zeros.
        """
        # torch's own GRU is faster on a GPU, and the one that exporters support.
        if x.device.type == "cuda" or torch.jit.is_tracing():
            return super().forward(x, None if state is None else state[None])[0]
        from_inputs = functional.linear(x, self.weight_ih_l0, self.bias_ih_l0)
        if state is None:
            state = self.weight_hh_l0.new_zeros(x.shape[1], self.hidden_size)
        states: torch.Tensor = _Recurrence.apply(from_inputs, state, self.weight_hh_l0, self.bias_hh_l0)
        return states


class _Recurrence(torch.autograd.Function):
    """The recurrence, with torch's gate order (r, z, n) and equations.

    r = s(a_r + b_r), z = s(a_z + b_z), n = tanh(a_n + r * b_n), h' = (1 - z) * n + z * h, b = W_hh h + b_hh.
    """

    @staticmethod
    def forward(
        ctx: Any, from_inputs: torch.Tensor, state: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        steps, batch, _ = from_inputs.shape
        hidden = state.shape[1]
        product = from_inputs.dtype
        weight_, bias_ = weight.to(product), bias.to(product)
        states = state.new_empty(steps + 1, batch, hidden)
        states[0] = state
        # r, z, n and b_n of each step: all values that the backward pass needs.
        gates = from_inputs.new_empty(steps, 4, batch, hidden)
        for step in range(steps):
            now = states[step]
            recurrent = functional.linear(now.to(product), weight_, bias_)
            both = torch.sigmoid((from_inputs[step, :, : 2 * hidden] + recurrent[:, : 2 * hidden]).to(state.dtype))
            r, z = both[:, :hidden], both[:, hidden:]
            b_n = recurrent[:, 2 * hidden :]
            n = torch.tanh(torch.addcmul(from_inputs[step, :, 2 * hidden :].to(state.dtype), r, b_n.to(state.dtype)))
            torch.lerp(n, now, z, out=states[step + 1])
            for place, gate in enumerate((r, z, n, b_n)):
                gates[step, place] = gate
        ctx.save_for_backward(states, gates, weight_)
        ctx.precise = weight.dtype
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states, gates, weight = ctx.saved_tensors
        (gradient,) = gradients
        steps, _, batch, hidden = gates.shape
        product, precise = gates.dtype, states.dtype
        back = weight.t().contiguous()
        # Gradients of a (input part) and b (recurrent part); their first two thirds are equal.
        d_a = gates.new_empty(steps, batch, 3 * hidden)
        d_b = gates.new_empty(steps, batch, 3 * hidden)
        d_state = torch.zeros_like(states[0])
        for step in range(steps - 1, -1, -1):
            r, z, n, b_n = gates[step].to(precise).unbind(0)
            d_state = d_state + gradient[step]
            d_n = d_state * (1 - z) * (1 - n * n)
            d_z = d_state * (states[step] - n) * z * (1 - z)
            d_r = d_n * b_n * r * (1 - r)
            d_a[step, :, :hidden] = d_b[step, :, :hidden] = d_r
            d_a[step, :, hidden : 2 * hidden] = d_b[step, :, hidden : 2 * hidden] = d_z
            d_a[step, :, 2 * hidden :] = d_n
            d_b[step, :, 2 * hidden :] = d_n * r
            d_state = torch.addcmul(functional.linear(d_b[step], back).to(precise), d_state, z)
        flat = d_b.flatten(0, 1)
        d_weight = flat.t() @ states[:-1].flatten(0, 1).to(product)
        return d_a, d_state, d_weight.to(ctx.precise), flat.sum(0, dtype=ctx.precise)
