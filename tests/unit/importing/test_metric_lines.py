"""Files of points: read at once where all is plain, and line by line else, with one result."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.importing import metric_lines
from localtrack.importing.metric_lines import read_metric_file
from localtrack.importing.report import Findings

LINES = st.one_of(
    st.builds(
        lambda time, value, step: f"{time} {value} {step}",
        st.integers(0, 10**14),
        st.floats() | st.integers(),
        st.integers(-(2**63), 2**63 - 1),
    ),
    st.builds(lambda time, value: f"{time} {value}", st.integers(0, 10**13), st.floats()),
    st.text("0123456789. -enaif\r\0", max_size=30),
    st.just("1700000000000 0.5 3 data d1"),
)


def read(data: bytes) -> tuple[list[tuple[int, int, str]], list[str]]:
    findings = Findings("run")
    points = [
        point
        for block in read_metric_file(io.BytesIO(data), "m", "metrics/m", findings)
        for point in zip(block.timestamp_ms, block.step, map(repr, block.value), strict=True)
    ]
    return points, [finding.what for finding in findings.found]


@given(st.lists(LINES), st.booleans())
def test_both_ways_read_the_same(lines: list[str], is_torn: bool) -> None:
    data = "\n".join([*lines, "17" if is_torn else ""]).encode()
    with pytest.MonkeyPatch.context() as patch:
        at_once = read(data)
        patch.setattr(metric_lines, "_take_plain_lines", lambda key, lines: None)
        one_by_one = read(data)
        assert at_once == one_by_one


def test_blocks_end_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    data = "".join(f"{1_700_000_000_000 + n} {n / 7} {n}\n" for n in range(50)).encode()
    whole = read(data)
    assert len(whole[0]) == 50
    for size in range(1, 60):
        monkeypatch.setattr(metric_lines, "_BLOCK_BYTES", size)
        assert read(data) == whole


def test_only_the_first_bad_lines_are_quoted() -> None:
    points, told = read(b"a\n" * 1_000 + b"1 2.0 3\n")
    assert points == [(1, 3, "2.0")]
    assert told == [
        "1000 of its lines are no points: line 1 ('a'): it has 1 fields; line 2 ('a'): it has 1 fields; "
        "line 3 ('a'): it has 1 fields; and 997 more"
    ]
