"""Operations on rows of different lengths that exporters of graphs support: search, windows, percentiles.

Rows are padded to a common length. The numbers of valid elements are tensors, so that a graph fits any lengths.
"""

import torch

# Places that one step of `count_up_to` compares, and number of steps: enough for a million elements.
_BRANCHES, _STEPS = 32, 4


def numbers_up_to(count: torch.Tensor) -> torch.Tensor:
    """Return the numbers from 0 to the largest of `count`, int64, without that one."""
    numbers: torch.Tensor = torch.arange(count.max(), device=count.device)  # type: ignore[call-overload]
    return numbers


def rows_at(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return elements (R, U, ...) of each row of `values` (R, T, ...) at `index`, int64 (R, U)."""
    start = torch.arange(values.shape[0], device=values.device)[:, None] * values.shape[1]
    return values.flatten(0, 1)[index + start]


def count_up_to(ascending: torch.Tensor, limit: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return how many elements of each row are not above a value, int64 (R, U).

    The same as `numpy.searchsorted` with side "right", row by row.

    Args:
        ascending: (R, T).
        limit: int64 (R,), valid elements of each row, at least 1; they come first.
        value: (R, U).
    """
    count = (value * 0).to(torch.int64)
    offsets = torch.arange(1, _BRANCHES, device=value.device)
    last = limit[:, None, None]
    for step in reversed(range(_STEPS)):
        candidate = count[..., None] + offsets * _BRANCHES**step  # (R, U, B)
        place = (torch.minimum(candidate, last) - 1).flatten(1)
        below = rows_at(ascending, place).view(candidate.shape) <= value[..., None]
        count = count + ((candidate <= last) & below).to(torch.int64).sum(dim=2) * _BRANCHES**step
    return count


def window_means(values: torch.Tensor, width: torch.Tensor, first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Return moving averages of each row, (R, T, C); beyond its ends, a row continues with its outermost elements.

    The same as `scipy.ndimage.uniform_filter1d` with mode "nearest", row by row.

    Args:
        values: (R, T, C).
        width: int64 (R,), width of the window, at least 1.
        first: int64 (R,), first valid element of each row.
        last: int64 (R,), last valid element of each row.
    """
    offset = numbers_up_to(width)
    place = torch.arange(values.shape[1], device=values.device)[:, None] + offset  # (T, W)
    index = place - torch.div(width, 2, rounding_mode="floor")[:, None, None]  # (R, T, W)
    index = torch.minimum(torch.maximum(index, first[:, None, None]), last[:, None, None])
    taken = rows_at(values, index.flatten(1)).view(*index.shape, values.shape[2])
    inside = (offset < width[:, None]).to(values.dtype)[:, None, :, None]
    return (taken * inside).sum(dim=2) / width[:, None, None].to(values.dtype)


def percentiles(values: torch.Tensor, valid: torch.Tensor, percents: tuple[int, ...]) -> torch.Tensor:
    """Return percentiles of the valid elements of each row, (R, P, C), with linear interpolation.

    Args:
        values: (R, T, C).
        valid: bool (R, T), True for the elements that come first; at least one.
        percents: P percents, 0 to 100.
    """
    ordered = torch.sort(values.masked_fill(~valid[..., None], torch.inf), dim=1).values
    last = valid.sum(dim=1, keepdim=True) - 1  # (R, 1)
    # Divided first, as in NumPy's version, because the results may differ in the last digit.
    shares = torch.tensor([percent / 100 for percent in percents], dtype=values.dtype, device=values.device)
    place = shares * last.to(values.dtype)
    before = place.to(torch.int64)
    share = (place - before.to(values.dtype))[..., None]
    after = torch.minimum(before + 1, last)
    # Not `rows_at`: exporters take the sizes of a sorted tensor from the example.
    low, high = (
        torch.gather(ordered, 1, index[..., None].expand(-1, -1, values.shape[2])) for index in (before, after)
    )
    return low * (1 - share) + high * share


def mean_of(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return means of the valid elements of each row, (R, C), of values (R, T, C); `valid` is bool (R, T)."""
    weight = valid[..., None].to(values.dtype)
    return (values * weight).sum(dim=1) / weight.sum(dim=1)


def deviation_of(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return standard deviations of the valid elements of each row, (R, C); see `mean_of`."""
    centred = values - mean_of(values, valid)[:, None]
    return mean_of(centred**2, valid).sqrt()


def range_of(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return largest minus smallest valid element of each row, (R, C); see `mean_of`."""
    low, high = extremes_of(values, valid)
    return high - low


def extremes_of(values: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the smallest and the largest valid element of each row, each (R, C); see `mean_of`."""
    unseen = ~valid[..., None]
    return values.masked_fill(unseen, torch.inf).amin(dim=1), values.masked_fill(unseen, -torch.inf).amax(dim=1)


def first_place(there: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the index of the first True of each row of `there`, bool (R, T), or 0, and whether there is one; (R,)."""
    length = there.shape[1]
    place = torch.arange(length, device=there.device)
    first = torch.where(there, place, length).amin(dim=1)
    found = first < length
    return torch.where(found, first, 0), found


def last_place(there: torch.Tensor) -> torch.Tensor:
    """Return the index of the last True of each row of `there`, bool (R, T), or 0; int64 (R,)."""
    place = torch.arange(there.shape[1], device=there.device)
    return torch.where(there, place, 0).amax(dim=1)


def places_in_order(there: torch.Tensor) -> torch.Tensor:
    """Return the indices of the True elements of each row of `there`, bool (R, T, ...), then values from T on."""
    length = there.shape[1]
    place = torch.arange(length, device=there.device).view(1, -1, *[1] * (there.dim() - 2))
    return torch.sort(torch.where(there, place, place + length), dim=1).values
