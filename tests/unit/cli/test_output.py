"""What is printed can be read by programs, and by any terminal."""

from __future__ import annotations

import io
import json
import sys

import pytest

from localtrack.cli import output
from localtrack.types import Finding


def ascii_stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")


def test_numbers_that_json_lacks_are_strings_at_any_depth() -> None:
    document = {"a": [float("nan"), {"b": float("inf")}, (float("-inf"), 1.5, 1, True, None)]}
    assert json.loads(output.encode_json(document)) == {
        "a": ["NaN", {"b": "Infinity"}, ["-Infinity", 1.5, 1, True, None]]
    }


def test_json_is_readable_where_the_stream_can_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert output.encode_json("é") == '"é"'


@pytest.mark.parametrize("text", ["é 漢字", "lone \ud800"])
def test_json_is_ascii_where_the_stream_can_take_no_more(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdout", ascii_stream())
    encoded = output.encode_json({"name": text})
    assert encoded.isascii()
    assert json.loads(encoded) == {"name": text}


def test_a_table_in_an_ascii_stream_spells_other_characters_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = ascii_stream()
    monkeypatch.setattr(sys, "stdout", stream)
    output.write_lines(["é"])
    stream.flush()
    assert stream.buffer.getvalue() == b"\\xe9\n"  # type: ignore[attr-defined]  # a BytesIO, made above


def test_many_lines_arrive_whole_and_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_lines(str(number) for number in range(2_500))
    assert capsys.readouterr().out == "".join(f"{number}\n" for number in range(2_500))


def test_no_lines_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_lines([])
    assert capsys.readouterr().out == ""


def test_findings_name_the_file_and_are_not_endless(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_findings(Finding(f"runs/x/{number}.jsonl", "line 3 is\ndamaged") for number in range(25))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == r"Warning: runs/x/0.jsonl: line 3 is\ndamaged"
    assert len(lines) == 21
    assert lines[-1] == "Warning: 5 more findings are not shown."


def test_progress_is_silent_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with output.Progress("Merging") as progress:
        progress.show(1, 2)
    assert capsys.readouterr().err == ""


def test_progress_shows_each_percent_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with output.Progress("Merging") as progress:
        for done_count in (1, 1, 2):
            progress.show(done_count, 4)
        progress.show(0, 0)
    assert capsys.readouterr().err == "\rMerging: 25 %\rMerging: 50 %\rMerging: 0 %\r\x1b[K"
