from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from trainer.engines.passes import passes

ROWS, MICRO, RANKS = st.integers(1, 40), st.none() | st.integers(1, 12), st.integers(1, 5)


@given(rows=ROWS, micro=MICRO, ranks=RANKS)
def test_every_row_counts_once_and_alike(rows: int, micro: int | None, ranks: int) -> None:
    weights = [0.0] * rows
    for rank in range(ranks):
        for first, end, weight in passes(rows, micro, rank, ranks):
            assert 0 <= first < end <= rows
            for row in range(first, end):
                weights[row] += weight / (end - first)
    # The gradients of the ranks are averaged.
    assert all(math.isclose(weight, ranks / rows) for weight in weights)


@given(rows=ROWS, micro=MICRO, ranks=RANKS)
def test_ranks_take_part_in_every_pass_and_hold_no_more_than_a_micro_batch(
    rows: int, micro: int | None, ranks: int
) -> None:
    done = [list(passes(rows, micro, rank, ranks)) for rank in range(ranks)]
    most = micro or math.ceil(rows / ranks)
    assert {len(of_one) for of_one in done} == {math.ceil(rows / min(rows, ranks * most))}
    assert all(end - first <= most for of_one in done for first, end, _ in of_one)


def test_one_process_computes_in_order() -> None:
    assert list(passes(5, None)) == [(0, 5, 1.0)]
    assert list(passes(5, 9)) == [(0, 5, 1.0)]
    assert list(passes(5, 2)) == [(0, 2, 0.4), (2, 4, 0.4), (4, 5, 0.2)]


def test_a_rank_without_a_row_computes_for_nothing() -> None:
    assert list(passes(3, 1, 0, 2)) == [(0, 1, 2 / 3), (2, 3, 2 / 3)]
    assert list(passes(3, 1, 1, 2)) == [(1, 2, 2 / 3), (2, 3, 0.0)]
