"""Which clips are held out of training to choose the model on."""

import numpy as np

# Random orders of the groups that are tried: a few when they are many, for time, and because one order then does well.
MOST_ORDERS = 20
GROUPS_IN_ALL_ORDERS = 20_000


def held_out_clips(labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """About `share` of the clips, every class by its size, bool (N,); never all clips of a class.

    Args:
        labels: int (N,) class of each clip.
        share: 0 < share < 1.
        rng: Says which clips.
    """
    rank = np.empty(len(labels))
    keeper = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        clips = rng.permutation(np.flatnonzero(labels == label))
        rank[clips] = (np.arange(len(clips)) + rng.uniform(0, 1)) / len(clips)
        keeper[clips[-1]] = True
    wanted = max(1, round(share * len(labels)))
    order = np.argsort(np.where(keeper, np.inf, rank), kind="stable")[: min(wanted, len(labels) - keeper.sum())]
    held = np.zeros(len(labels), bool)
    held[order] = True
    return held


def held_out_groups(labels: np.ndarray, groups: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Whole groups with about `share` of every class's clips, bool (N,); never all clips of a class.

    Groups are taken in several random orders, each as long as it brings the classes' shares nearer to the wanted one,
    by the sum of squares; the best of the orders counts. None are taken where every group is all that a class has.

    Args:
        labels: int (N,) class of each clip.
        groups: int (N,) group of each clip, from 0.
        share: 0 < share < 1.
        rng: Says which groups.
    """
    classes, label_of = np.unique(labels, return_inverse=True)
    count = np.zeros((int(groups.max()) + 1, len(classes)))
    np.add.at(count, (groups, label_of), 1)
    total = count.sum(axis=0)
    # In shares of the class, so that small classes weigh as much as large ones.
    parts = count / total
    allowed = np.flatnonzero((count < total).all(axis=1))
    orders = max(1, min(MOST_ORDERS, GROUPS_IN_ALL_ORDERS // max(1, len(allowed))))
    best, best_cost = np.zeros(0, np.int64), np.inf
    for _ in range(orders):
        taken, cost = _take(parts, rng.permutation(allowed), share)
        if cost < best_cost:
            best, best_cost = taken, cost
    return np.isin(groups, best)


def _take(parts: np.ndarray, order: np.ndarray, share: float) -> tuple[np.ndarray, float]:
    """Groups taken in one order, at least one, and the sum over classes of (share taken - share wanted)^2."""
    taken: list[int] = []
    reached = np.zeros(parts.shape[1])
    cost = float(((reached - share) ** 2).sum())
    for group in order:
        after = reached + parts[group]
        cost_after = float(((after - share) ** 2).sum())
        if cost_after < cost and (after < 1 - 1e-9).all():
            taken.append(int(group))
            reached, cost = after, cost_after
    if not taken and len(order):
        # All groups are larger than what is wanted: the one that oversteps least.
        costs = ((parts[order] - share) ** 2).sum(axis=1)
        return order[[costs.argmin()]], float(costs.min())
    return np.array(taken, np.int64), cost
