"""Plain float64 implementations of the three backbones, one sequence at a time.

Each takes a state dictionary and the joints (T, V, C) of one sequence without padding, and returns R (T, V, C_r) and A
(T, V). Attention is an explicit softmax, with loops over tokens, heads, neighbours and tuples.
"""

import math

import torch

State = dict[str, torch.Tensor]


def part(state: State, prefix: str) -> State:
    """Return the entries below a prefix, without the prefix."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def linear(state: State, x: torch.Tensor) -> torch.Tensor:
    return x @ state["weight"].T + state["bias"]


def layer_norm(state: State, x: torch.Tensor) -> torch.Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-6) * state["weight"] + state["bias"]


def feed_forward(state: State, x: torch.Tensor) -> torch.Tensor:
    hidden = linear(part(state, "fc1."), x)
    return linear(part(state, "fc2."), hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))))


def self_attention(state: State, x: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return attention among the tokens (L, C), and what each token receives (L): mean over heads, sum over queries."""
    tokens, dim = x.shape
    width = dim // heads
    query, key, value = linear(part(state, "qkv."), x).split(dim, dim=-1)
    mixed, received = torch.zeros_like(x), torch.zeros(tokens, dtype=x.dtype)
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        for token in range(tokens):
            scores = torch.stack([(query[token, own] * key[other, own]).sum() for other in range(tokens)])
            weights = torch.exp(scores / math.sqrt(width) - (scores / math.sqrt(width)).max())
            weights = weights / weights.sum()
            mixed[token, own] = sum(weights[other] * value[other, own] for other in range(tokens))
            received += weights / heads
    return linear(part(state, "proj."), mixed), received


def embedded(state: State, x: torch.Tensor, masked: torch.Tensor | None) -> torch.Tensor:
    """Embed joints, replace masked ones by the token, then add the positional embeddings."""
    features = linear(part(state, "joint_embedding."), x)
    if masked is not None:
        features[masked] = state["mask_token"]
    return features + state["spatial_embedding"][0] + state["temporal_embedding"][0, : len(x)]


def half(state: State, x: torch.Tensor, heads: int, *, among_joints: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one half of a DSTFormer block on (T, V, C), and the attention that each cell receives (T, V)."""
    frames, joints, _ = x.shape
    normed = layer_norm(part(state, "norm1."), x)
    attended, received = torch.zeros_like(x), torch.zeros(frames, joints, dtype=x.dtype)
    for index in range(frames if among_joints else joints):
        place = (index, slice(None)) if among_joints else (slice(None), index)
        attended[place], received[place] = self_attention(part(state, "attention."), normed[place], heads)
    x = x + attended
    return x + feed_forward(part(state, "feed_forward."), layer_norm(part(state, "norm2."), x)), received


def dstformer(
    state: State,
    x: torch.Tensor,
    *,
    heads: int,
    depth: int,
    source: str = "spatial",
    masked: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    x = embedded(state, x, masked)
    for level in range(depth):
        st, ts = part(state, f"streams_st.{level}."), part(state, f"streams_ts.{level}.")
        x_st, spatial = half(part(st, "spatial."), x, heads, among_joints=True)
        x_st, temporal = half(part(st, "temporal."), x_st, heads, among_joints=False)
        x_ts, _ = half(part(ts, "temporal."), x, heads, among_joints=False)
        x_ts, spatial_ts = half(part(ts, "spatial."), x_ts, heads, among_joints=True)
        weights = torch.exp(linear(part(state, f"fusions.{level}."), torch.cat((x_st, x_ts), -1)))
        weights = weights / weights.sum(-1, keepdim=True)
        x = weights[..., :1] * x_st + weights[..., 1:] * x_ts
    representation = torch.tanh(linear(part(state, "representation."), layer_norm(part(state, "norm."), x)))
    if source == "average":
        return representation, (spatial + spatial_ts) / 2
    if source == "spatiotemporal":
        return representation, spatial * temporal / (spatial * temporal).mean()
    return representation, spatial


def transformer(
    state: State, x: torch.Tensor, *, heads: int, depth: int, masked: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    frames, joints, _ = x.shape
    tokens = embedded(state, x, masked).reshape(frames * joints, -1)
    for level in range(depth):
        block = part(state, f"blocks.{level}.")
        attended, received = self_attention(part(block, "attention."), layer_norm(part(block, "norm1."), tokens), heads)
        tokens = tokens + attended
        tokens = tokens + feed_forward(part(block, "feed_forward."), layer_norm(part(block, "norm2."), tokens))
    representation = linear(part(state, "representation."), layer_norm(part(state, "norm."), tokens))
    return representation.reshape(frames, joints, -1), received.reshape(frames, joints)


def running_norm(state: State, x: torch.Tensor) -> torch.Tensor:
    """Batch normalisation in evaluation mode."""
    spread = torch.sqrt(state["running_var"] + 1e-5)
    return (x - state["running_mean"]) / spread * state["weight"] + state["bias"]


def leaky(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, 0.1 * x)


def position_of(cell: int, channels: int) -> torch.Tensor:
    """Return sine and cosine of a cell's position within its tuple."""
    values = []
    for channel in range(channels):
        # The network stores it in float32.
        angle = cell * math.exp(-(channel - channel % 2) * math.log(10000) / channels)
        values.append(math.cos(angle) if channel % 2 else math.sin(angle))
    return torch.tensor(values, dtype=torch.float32).double()


def sttformer(
    state: State, x: torch.Tensor, *, heads: int, depth: int, length: int, masked: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Evaluation mode. Missing cells of a last tuple with fewer than `length` frames are excluded from every sum."""
    frames, joints, _ = x.shape
    features = leaky(running_norm(part(state, "joint_embedding_norm."), linear(part(state, "joint_embedding."), x)))
    if masked is not None:
        features[masked] = state["mask_token"]
    # One list of cells per tuple, the last possibly shorter.
    tuples = [list(features[start : start + length].flatten(0, 1)) for start in range(0, frames, length)]
    cells = length * joints
    for level in range(depth):
        block = part(state, f"blocks.{level}.")
        width = len(block["query_key.weight"]) // (2 * heads)
        product = torch.zeros(heads, cells, cells, dtype=x.dtype)
        for tuple_cells in tuples:
            projected = [
                linear(part(block, "query_key."), cell + position_of(place, len(cell)))
                for place, cell in enumerate(tuple_cells)
            ]
            for source in range(len(tuple_cells)):
                for output in range(len(tuple_cells)):
                    query = projected[source][: heads * width].reshape(heads, width)
                    key = projected[output][heads * width :].reshape(heads, width)
                    product[:, source, output] += (query * key).sum(-1)
        attention = torch.tanh(product / (width * len(tuples))) * block["scale"] + block["base_attention"]
        tuples = across_tuples(block, [within_tuple(block, cells_, attention) for cells_ in tuples])
    received = attention.abs().mean(0).sum(-1)
    received = received / received.mean()
    representation = torch.stack([cell for tuple_cells in tuples for cell in tuple_cells])
    scores = torch.cat([received[: len(tuple_cells)] for tuple_cells in tuples])
    return representation.reshape(frames, joints, -1), scores.reshape(frames, joints)


def within_tuple(block: State, cells: list[torch.Tensor], attention: torch.Tensor) -> list[torch.Tensor]:
    """Attention with the features themselves as values, a convolution over five cells, the feed-forward layer."""
    mixed = [
        torch.cat([sum(head[source, output] * cells[source] for source in range(len(cells))) for head in attention])
        for output in range(len(cells))
    ]
    outputs = []
    for output in range(len(cells)):
        y = block["mix.bias"].clone()
        for step in range(-2, 3):
            if 0 <= output + step < len(cells):
                y = y + block["mix.weight"][:, :, 0, step + 2] @ mixed[output + step]
        residual = cells[output]
        if "residual.weight" in block:
            residual = running_norm(part(block, "residual_norm."), linear(part(block, "residual."), residual))
        y = leaky(running_norm(part(block, "mix_norm."), y) + residual)
        y = running_norm(part(block, "feed_forward_norm."), linear(part(block, "feed_forward."), y))
        outputs.append(leaky(y + residual))
    return outputs


def across_tuples(block: State, tuples: list[list[torch.Tensor]]) -> list[list[torch.Tensor]]:
    """A convolution over the same cell of three tuples."""
    outputs = []
    for place, cells in enumerate(tuples):
        row = []
        for index, cell in enumerate(cells):
            y = block["across.bias"].clone()
            for step in range(-1, 2):
                if 0 <= place + step < len(tuples) and index < len(tuples[place + step]):
                    y = y + block["across.weight"][:, :, step + 1, 0] @ tuples[place + step][index]
            residual = cell
            if "across_residual.weight" in block:
                residual = running_norm(
                    part(block, "across_residual_norm."), linear(part(block, "across_residual."), cell)
                )
            row.append(leaky(running_norm(part(block, "across_norm."), y) + residual))
        outputs.append(row)
    return outputs
