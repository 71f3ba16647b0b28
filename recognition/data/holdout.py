"""Selection of the clips that are held out of training to choose the best epoch."""

import numpy as np

# Number of random orders of the groups to try. Fewer if there are many groups: to save time, and because a single order
# is then close to optimal.
MOST_ORDERS = 20
GROUPS_IN_ALL_ORDERS = 20_000


def held_out_clips(labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Select about `share` of the clips, in proportion to the sizes of the classes; never all clips of a class.

    Args:
        labels: int (N,), class of each clip.
        share: Share to hold out, 0 < share < 1.
        rng: Random generator that selects the clips.

    Returns:
        bool (N,), True for held-out clips.
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
    """Select whole groups that contain about `share` of the clips of every class; never all clips of a class.

    Groups are added in several random orders, as long as each brings the shares of the classes closer to the target
    (sum of squares). The best order is used. Nothing is selected if every group contains all clips of some class.

    Args:
        labels: int (N,), class of each clip.
        groups: int (N,), group of each clip, from 0.
        share: Share to hold out, 0 < share < 1.
        rng: Random generator that selects the groups.

    Returns:
        bool (N,), True for held-out clips.
    """
    classes, label_of = np.unique(labels, return_inverse=True)
    count = np.zeros((int(groups.max()) + 1, len(classes)))
    np.add.at(count, (groups, label_of), 1)
    total = count.sum(axis=0)
    # As shares of each class, so that small classes count as much as large ones.
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
    """Select groups in one order, at least one; also return the sum over classes of (share reached - target)^2."""
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
        # Every group is larger than the target: take the one that exceeds it least.
        costs = ((parts[order] - share) ** 2).sum(axis=1)
        return order[[costs.argmin()]], float(costs.min())
    return np.array(taken, np.int64), cost
