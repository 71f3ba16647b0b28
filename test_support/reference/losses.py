"""The formulas of MaskCLR's sections 3.2 to 3.4 as plain loops over Python numbers."""

import math
from collections.abc import Sequence

Vector = Sequence[float]


def cosine(u: Vector, v: Vector) -> float:
    product = sum(a * b for a, b in zip(u, v, strict=True))
    return product / math.sqrt(sum(a * a for a in u)) / math.sqrt(sum(b * b for b in v))


def mean(vectors: Sequence[Vector]) -> list[float] | None:
    if not vectors:
        return None
    return [sum(values) / len(vectors) for values in zip(*vectors, strict=True)]


def cross_entropy(logits: Sequence[Vector], labels: Sequence[int]) -> float:
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        total += math.log(sum(math.exp(value) for value in row)) - row[label]
    return total / len(labels)


def sample_contrastive(standard: Sequence[Vector], masked: Sequence[Vector], temperature: float) -> float:
    """Eq. 5, mean over the clips."""
    total = 0.0
    for i, anchor in enumerate(standard):
        positive = math.exp(cosine(anchor, masked[i]) / temperature)
        negative = sum(math.exp(cosine(anchor, other) / temperature) for k, other in enumerate(standard) if k != i)
        total -= math.log(positive / (positive + negative))
    return total / len(standard)


def true_positives(
    representation: Sequence[Vector], logits: Sequence[Vector], labels: Sequence[int], class_id: int, confidence: float
) -> list[Vector]:
    chosen = []
    for vector, row, label in zip(representation, logits, labels, strict=True):
        probability = math.exp(max(row)) / sum(math.exp(value) for value in row)
        if label == class_id and row.index(max(row)) == class_id and probability > confidence:
            chosen.append(vector)
    return chosen


def class_contrastive(
    pathways: Sequence[tuple[Sequence[Vector], Sequence[Vector]]],
    labels: Sequence[int],
    prototypes: Sequence[Vector | None],
    temperature: float,
    confidence: float = 0.0,
) -> float:
    """Eq. 7 to 11 for (representations, logits) of each pathway; mean over the classes that have a term."""
    terms = []
    for class_id, prototype in enumerate(prototypes):
        positive, negative, false = [], [], []
        for representation, logits in pathways:
            positive += true_positives(representation, logits, labels, class_id, confidence)
            for vector, row, label in zip(representation, logits, labels, strict=True):
                prediction = row.index(max(row))
                if label == class_id and prediction != class_id:
                    negative.append(vector)
                if prediction == class_id and label != class_id:
                    false.append(vector)
        mu = mean(positive)
        if mu is None or prototype is None:
            continue
        mu_negative, mu_false = mean(negative), mean(false)
        omega = 2.0
        if mu_false is not None:
            omega += cosine(mu, mu_false)
        if mu_negative is not None:
            omega -= cosine(mu, mu_negative)
        own = math.exp(cosine(prototype, mu) / temperature - omega)
        others = 0.0
        for k, other in enumerate(prototypes):
            if k != class_id and other is not None:
                others += math.exp(cosine(other, mu) / temperature)
        terms.append(-math.log(own / (own + others)))
    return sum(terms) / len(terms) if terms else 0.0


def moved_prototypes(
    prototypes: Sequence[Vector | None],
    standard: Sequence[Vector],
    logits: Sequence[Vector],
    labels: Sequence[int],
    momentum: float,
    confidence: float = 0.0,
) -> list[Vector | None]:
    """Eq. 6; the first mean of a class becomes its prototype."""
    moved = []
    for class_id, prototype in enumerate(prototypes):
        new = mean(true_positives(standard, logits, labels, class_id, confidence))
        if new is None:
            moved.append(prototype)
        elif prototype is None:
            moved.append(new)
        else:
            moved.append([momentum * c + (1 - momentum) * m for c, m in zip(prototype, new, strict=True)])
    return moved


def masked_cells(
    attention: Sequence[Sequence[Vector]],
    num_frames: Sequence[int],
    noise: Sequence[Sequence[Vector]],
    *,
    ratio: float,
    temperature: float,
    scale: str,
) -> set[tuple[int, int, int]]:
    """Eq. 3 and 4: cells (person, frame, joint) to mask in sequences (P, T, V) with `num_frames[p]` valid frames."""
    masked = set()
    for person, own_frames in enumerate(num_frames):
        rows = attention[person][:own_frames]
        cells = [(t, v) for t in range(own_frames) for v in range(len(rows[t]))]
        score = {}
        for t, v in cells:
            divisor = {"none": 1.0, "frame_max": max(rows[t]), "seq_max": max(map(max, rows))}[scale]
            score[t, v] = rows[t][v] / divisor / temperature
        total = sum(math.exp(value) for value in score.values())
        drawn = {cell: math.log(math.exp(score[cell]) / total) + noise[person][cell[0]][cell[1]] for cell in cells}
        count = math.floor(ratio * len(cells))
        for t, v in sorted(cells, key=lambda cell: -drawn[cell])[:count]:
            masked.add((person, t, v))
    return masked
