"""What was counted is remembered for as long as the window is, and not longer."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.window import PARTS, Window


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_nothing_was_counted_at_first() -> None:
    assert Window(Clock(), 10.0).sums() == (0, 0)


def test_counts_leave_the_window_part_by_part() -> None:
    clock = Clock()
    window = Window(clock, 10.0)
    window.add(1, 0)
    clock.now = 4.5
    window.add(2, 1)

    seen = []
    for now in (4.5, 9.9, 10.0, 13.9, 14.0):
        clock.now = now
        seen.append(window.sums())

    assert seen == [(3, 1), (3, 1), (2, 1), (2, 1), (0, 0)]


def test_a_cleared_window_counts_anew() -> None:
    window = Window(Clock(), 10.0)
    window.add(5, 5)

    window.clear()
    window.add(1, 0)

    assert window.sums() == (1, 0)


def test_a_clock_that_is_set_back_loses_no_count() -> None:
    clock = Clock(100.0)
    window = Window(clock, 10.0)
    window.add(1, 0)
    clock.now = 50.0
    window.add(1, 1)

    assert window.sums() == (2, 1)
    clock.now = 100.5
    assert window.sums() == (2, 1)


def test_its_memory_does_not_grow_with_time() -> None:
    clock = Clock()
    window = Window(clock, 10.0)
    tracemalloc.start()
    try:
        for _ in range(2000):
            clock.now += 1.0
            window.add(1, 1)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 10_000


@given(st.lists(st.tuples(st.floats(0.0, 4.0), st.integers(0, 5), st.integers(0, 5)), max_size=60))
def test_the_sums_are_those_of_the_window_give_or_take_one_part(steps: list[tuple[float, int, int]]) -> None:
    clock = Clock()
    window = Window(clock, 10.0)
    counted = []
    for pause, first, second in steps:
        clock.now += pause
        window.add(first, second)
        counted.append((clock.now, first, second))

    seen = window.sums()

    part_s = 10.0 / PARTS
    oldest = (int(clock.now / part_s) - PARTS + 1) * part_s  # where the oldest part begins
    inside = [entry for entry in counted if entry[0] >= oldest]
    assert seen == (sum(entry[1] for entry in inside), sum(entry[2] for entry in inside))
    assert 10.0 - part_s <= clock.now - oldest + 1e-9 < 10.0 + 2e-9
