"""First and last lines of logs, and what of a log is written again."""

from __future__ import annotations

import json

from localtrack.format.headers import WriterIdentity, encode_closed, encode_header, select_resent
from localtrack.format.lines import LOG, encode_span, encode_torn

IDENTITY = WriterIdentity("node", "boot", "pidns", 7, "11", "test")
HEADER = encode_header(LOG, IDENTITY, writer="w", base_ms=1, stamp=2, flock=True, more={"run": "r"})
TAG, POINT = b'["tag",3,{"a":"1"}]\n', b"[0,1,2,0.5]\n"


def test_a_header_is_one_line_with_all_that_readers_need() -> None:
    assert HEADER.count(b"\n") == 1
    kind, fields = json.loads(HEADER)
    assert kind == "Log"
    assert fields == {
        "format": 1,
        "writer": "w",
        "base_ms": 1,
        "stamp": 2,
        "host": "node",
        "boot": "boot",
        "pidns": "pidns",
        "pid": 7,
        "start": "11",
        "flock": True,
        "by": "test",
        "run": "r",
    }


def test_the_last_line_says_what_it_closes() -> None:
    line = encode_closed(9, bytes_count=100, crc=7, points=3, more={"chunks": 1})
    assert json.loads(line) == ["Closed", 9, {"bytes": 100, "crc": 7, "points": 3, "chunks": 1}]


def test_what_belongs_to_a_file_is_not_written_again_to_another() -> None:
    closed = encode_closed(9, bytes_count=1, crc=1, points=0)
    data = HEADER + b'["k",0,["a"]]\n' + TAG + encode_span(0, 9, 7) + POINT + closed
    assert select_resent(data) == TAG + POINT


def test_what_is_torn_is_not_written_again() -> None:
    for torn in (b'["tag",4', b"\xc3", POINT[:-1], b'["torn",1'):
        assert select_resent(TAG + torn + encode_torn(len(torn)) + POINT) == TAG + POINT
    twice = b'["tag",4' + encode_torn(8)[:5]
    assert select_resent(TAG + twice + encode_torn(len(twice)) + POINT) == TAG + POINT
    assert select_resent(TAG + POINT + b'["tag",4') == TAG + POINT


def test_a_marker_whose_torn_bytes_were_synced_takes_nothing_along() -> None:
    assert select_resent(encode_torn(500) + TAG + POINT) == TAG + POINT
