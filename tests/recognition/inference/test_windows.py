"""Windows over time, compared with a plain implementation of the definition."""

import numpy as np
import pytest

from recognition.confidence.confidence import Rejection
from recognition.inference.windows import CELLS, Cell, Grid, Joiner, Segment, Timeline

NEVER = Rejection()


def plain_means(answers: dict[int, np.ndarray], seen: set[int]) -> dict[int, np.ndarray]:
    """For each cell, the mean of the windows that start with it or with one of the cells before it."""
    means = {}
    for cell in seen:
        covering = [answers[start] for start in range(cell - CELLS + 1, cell + 1) if start in answers]
        if covering:
            means[cell] = sum(covering) / len(covering)
    return means


def test_cell_is_the_mean_of_its_windows() -> None:
    rng = np.random.default_rng(0)
    answers = {start: rng.dirichlet(np.ones(4)) for start in (0, 1, 2, 3, 5, 6, 9)}
    seen = set(range(13)) - {4}
    timeline: Timeline[str] = Timeline()
    found: list[Cell[str]] = []
    for start in range(13):
        if start in answers:
            cells = np.array([cell for cell in range(start, start + CELLS) if cell in seen])
            # The unknown score is averaged like the probabilities: here it is one of them.
            rows = np.tile(answers[start], (len(cells), 1))
            timeline.add("a", rows, rows[:, 1], cells=cells, start=cells * 0.5, end=cells * 0.5 + 0.5)
        found.extend(timeline.settled(start + 1))
        # Settled as soon as no further window covers it, and not before.
        assert all(cell.cell <= start for cell in found)
    expected = plain_means(answers, seen)
    assert [cell.cell for cell in found] == sorted(expected)
    for cell in found:
        np.testing.assert_allclose(cell.probabilities, expected[cell.cell], rtol=1e-12)
        assert cell.unknown == pytest.approx(expected[cell.cell][1])
        assert (cell.start, cell.end) == (cell.cell * 0.5, cell.cell * 0.5 + 0.5)


def segments_of(rows: list[tuple[int, list[float]]], rejection: Rejection = NEVER) -> list[Segment[int]]:
    """Segments of cells whose unknown score is the last probability."""
    joiner: Joiner[int] = Joiner(rejection)
    found = []
    for cell, shares in rows:
        ended = joiner.add(Cell(0, cell, np.array(shares), shares[-1], float(cell), cell + 1.0))
        found += [ended] if ended is not None else []
    return found + list(joiner.ended())


def test_equal_neighbours_are_joined_unless_separated_by_gaps() -> None:
    rows = [(0, [0.9, 0.1]), (1, [0.7, 0.3]), (2, [0.2, 0.8]), (3, [0.6, 0.4]), (6, [0.8, 0.2])]
    found = segments_of(rows)
    assert [(one.start, one.end, one.number) for one in found] == [(0, 2, 0), (2, 3, 1), (3, 4, 0), (6, 7, 0)]
    np.testing.assert_allclose(found[0].probabilities, [0.8, 0.2])
    assert found[0].unknown == pytest.approx(0.2)


def test_improbable_cells_form_one_unknown_segment() -> None:
    rows = [(0, [0.9, 0.1]), (1, [0.55, 0.45]), (2, [0.4, 0.6]), (3, [0.1, 0.9])]
    assert [one.number for one in segments_of(rows, Rejection(0.7))] == [0, None, 1]
    # A probability equal to the threshold is sufficient.
    assert [one.number for one in segments_of(rows, Rejection(0.6))] == [0, None, 1]


def test_cells_with_a_high_unknown_score_form_one_unknown_segment() -> None:
    rows = [(0, [0.9, 0.1]), (1, [0.8, 0.2]), (2, [0.3, 0.7]), (3, [0.2, 0.8]), (4, [0.8, 0.2])]
    found = segments_of(rows, Rejection(most_unknown=0.2))
    # A score equal to the threshold is not too high.
    assert [(one.start, one.end, one.number) for one in found] == [(0, 2, 0), (2, 4, None), (4, 5, 0)]


def test_persons_are_independent_and_segments_end_when_they_leave() -> None:
    joiner: Joiner[str] = Joiner(Rejection())
    for cell in range(3):
        joiner.add(Cell("stays", cell, np.array([1.0, 0.0]), 0.0, cell, cell + 1))
    joiner.add(Cell("leaves", 0, np.array([0.0, 1.0]), 0.0, 0, 1))
    gone = list(joiner.ended(3))
    assert [(one.person, one.number) for one in gone] == [("leaves", 1)]
    assert [one.person for one in joiner.ended()] == ["stays"] and not list(joiner.ended())


@pytest.mark.parametrize("fps", [10.0, 24.0, 25.0, 29.97, 30.0])
def test_every_frame_lies_in_as_many_windows_as_there_are_cells(fps: float) -> None:
    grid = Grid(2.0)
    time = np.arange(400) / fps
    # Only windows that start within the video count.
    last = int(grid.cell_of(time[-1]))
    counts = np.zeros(len(time), int)
    for cell in range(last + 1):
        counts[grid.rows_of(time, cell)] += 1
        low, high = grid.bounds(cell)
        inside = (time >= low) & (time < high)
        assert np.array_equal(np.flatnonzero(inside), np.arange(len(time))[grid.rows_of(time, cell)])
    assert np.array_equal(counts, np.minimum(grid.cell_of(time) + 1, CELLS))
