"""How fast requests go: as fast as is documented, and slower once the target says so."""

from __future__ import annotations

from localtrack.sync.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def send(pace: Pace, clock: Clock, count: int) -> float:
    start = clock.now
    for _ in range(count):
        pace.wait()
        pace.note_good()
    return clock.now - start


def test_without_a_limit_nothing_waits() -> None:
    clock = Clock()
    assert send(Pace(clock=clock, sleep=clock.sleep), clock, 1000) == 0


def test_a_documented_limit_is_kept_to() -> None:
    clock = Clock()
    assert 9.0 <= send(Pace(10.0, clock=clock, sleep=clock.sleep), clock, 100) <= 10.0


def test_what_the_target_asks_for_is_waited_for() -> None:
    clock = Clock()
    pace = Pace(clock=clock, sleep=clock.sleep)
    pace.note_throttled(7.0)
    assert send(pace, clock, 1) == 7.0
    assert pace.throttled_count == 1


def test_without_a_time_waits_double() -> None:
    clock = Clock()
    pace = Pace(clock=clock, sleep=clock.sleep)
    waits = []
    for _ in range(4):
        start = clock.now
        pace.note_throttled(None)
        pace.wait()
        waits.append(round(clock.now - start))
    assert waits == [1, 2, 4, 8]


def test_a_throttled_rate_is_halved_grows_again_and_is_forgotten() -> None:
    clock = Clock()
    pace = Pace(clock=clock, sleep=clock.sleep)
    pace.note_throttled(0.0)
    assert 0.9 <= send(pace, clock, 11) <= 1.1
    pace.note_throttled(0.0)
    assert 1.5 <= send(pace, clock, 11) <= 2.2
    clock.now += 100.0
    assert send(pace, clock, 100) == 0
