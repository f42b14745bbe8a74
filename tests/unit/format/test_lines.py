"""Log bytes to records, rule by rule. What hypothesis makes of them stands in tests/property/test_lines_damage.py."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from localtrack.format.headers import WriterIdentity, encode_closed, encode_header
from localtrack.format.jsonlines import encode_record
from localtrack.format.lines import EDITS, LOG, encode_span, encode_torn, read_lines

IDENTITY = WriterIdentity("node", "boot", "pidns", 7, "11", "test")
HEADER = encode_header(LOG, IDENTITY, writer="w", base_ms=1, stamp=2, flock=True)
A, B = ["tag", 3, {"a": "1"}], ["tag", 4, {"b": "2"}]


def log(*parts: Any) -> bytes:
    """Return a log of records, and of bytes as they are."""
    return HEADER + b"".join(part if isinstance(part, bytes) else encode_record(part) for part in parts)


def close(data: bytes) -> bytes:
    return data + encode_closed(9, bytes_count=len(data), crc=zlib.crc32(data), points=0)


def test_a_log_says_its_header_its_records_and_where_it_ends() -> None:
    data = log(A, B)
    lines = read_lines(data + b'["tag",5', LOG)
    assert (lines.records, lines.problems, lines.closed) == ([A, B], [], None)
    assert lines.whole_bytes_count == len(data)
    assert lines.header is not None
    assert (lines.header["writer"], lines.header["flock"]) == ("w", True)


@pytest.mark.parametrize("data", [b"", b'["Log",{'])
def test_without_a_whole_line_there_is_nothing_to_say(data: bytes) -> None:
    lines = read_lines(data, LOG)
    assert (lines.header, lines.records, lines.problems) == (None, [], [])


def test_a_closed_log_says_so() -> None:
    lines = read_lines(close(log(A)), LOG)
    assert lines.problems == []
    assert lines.closed is not None
    assert (lines.closed_stamp, lines.records) == (9, [A])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"[1,2]\n", "the first line is not a header"),
        (b"{}\n", "is damaged"),
        (encode_record(["Log", {"format": 1}]), "its header is damaged"),
        (encode_header(EDITS, IDENTITY, writer="w", base_ms=1, stamp=2, flock=True), "its header is 'Edits'"),
        (log(b"what\n", A), f"the line at byte {len(HEADER)} (4 bytes) is damaged"),
        (log(b"\n", A), "is damaged"),
        (log(b'[1.5,"no type"]\n', A), "is damaged"),
        (log(b'["alone"]\n', A), "is damaged"),
        (log(A, encode_torn(5)), "speaks of a torn line that is not there"),
        (log(A, encode_span(0, len(HEADER), 1)), "the checksum of the bytes"),
        (log(A, ["c", 0, 10**9, 0]), "the checksum of the bytes"),
        (log(["Closed", 3, {"bytes": 1}]), "the record that closes the log is damaged"),
        (close(log(A)) + encode_record(B), "records stand behind the record that closes the log"),
        (close(log(A)) + b"x", "1 bytes stand behind the end of a closed log"),
        (close(log(A)).replace(b'"1"', b'"7"'), "the checksum of the closed log does not fit"),
        (close(log(A, b"lost\n")).replace(b"lost\n", b""), "stands at another place than it says"),
    ],
)
def test_damage_is_told(data: bytes, problem: str) -> None:
    lines = read_lines(data, LOG)
    assert any(problem in told for told in lines.problems), lines.problems


@pytest.mark.parametrize(
    "damage", [b"what\n", b'{"a":1}\n', b"\xff\xfe\n", b'["tag",3,{"a":"1"}]["tag"]\n', b"[[1,2]]\n"]
)
def test_damage_takes_no_other_line_along(damage: bytes) -> None:
    lines = read_lines(log(A, damage, B), LOG)
    assert lines.records == [A, B]
    assert len(lines.problems) == 1


def test_a_newer_format_is_not_read() -> None:
    lines = read_lines(encode_record(["Log", {"format": 2, "writer": "w", "base_ms": 1, "stamp": 1}]), LOG)
    assert lines.newer
    assert lines.header is None


@pytest.mark.parametrize("torn", [b'["tag",3', b'["tag",3,{"a":"torn"}]', b"\xc3", b'["torn",4', b"x"])
def test_what_a_marker_names_is_skipped_even_if_it_can_be_read(torn: bytes) -> None:
    lines = read_lines(log(A, torn, encode_torn(len(torn)), B), LOG)
    assert (lines.records, lines.problems) == ([A, B], [])


def test_a_torn_marker_is_counted_by_the_next_one() -> None:
    torn = b'["tag",3'
    first = encode_torn(len(torn))
    for length in range(1, len(first)):
        torn_twice = torn + first[:length]
        lines = read_lines(log(A, torn_twice, encode_torn(len(torn_twice)), B), LOG)
        assert (lines.records, lines.problems) == ([A, B], [])


def test_damage_that_looks_like_a_marker_takes_nothing_along() -> None:
    lines = read_lines(log(A, B, ["torn", len(encode_record(B)) + 3]), LOG)
    assert lines.records == [A, B]
    assert len(lines.problems) == 1


def test_spans_are_checked_where_the_log_is_open() -> None:
    data = log(A)
    sound = data + encode_span(0, len(data), zlib.crc32(data))
    assert read_lines(sound, LOG).problems == []
    assert len(read_lines(sound.replace(b'"1"', b'"7"'), LOG).problems) == 1


def test_unknown_records_are_kept_for_who_knows_them() -> None:
    later = ["later", 7, {"x": 1}]
    assert read_lines(log(later), LOG).records == [later]


def test_many_points_in_a_row_are_one_record() -> None:
    points = [[0, step, step, step / 3] for step in range(200)]
    lines = read_lines(log(A, *points, B), LOG)
    first, (kind, stretch), last = lines.records
    assert (first, kind, last, lines.problems) == (A, "p", B, [])
    assert list(stretch.points()) == points
