"""Names in a store: spelled, and read back."""

from __future__ import annotations

import pytest

from localtrack.format.ids import encode_run_id
from localtrack.format.layout import (
    RunFile,
    chunk_name,
    edits_key,
    experiment_key,
    inbox_key,
    is_day_folder,
    log_name,
    parse_run_file,
    part_name,
    run_folder,
    segment_name,
)

WRITER = "1f0e2d3c4b5a69788796"
DIGEST = "0123456789abcdef"


def test_names_that_are_spelled_are_read_back() -> None:
    assert parse_run_file(log_name(WRITER)) == RunFile(f"{WRITER}.jsonl", "log", WRITER)
    assert parse_run_file(chunk_name(WRITER, 12)) == RunFile(f"{WRITER}.12.points.jsonl", "chunk", WRITER, 12, 12)
    name = segment_name(WRITER, 0, 9, DIGEST + "more")
    assert parse_run_file(name) == RunFile(f"{WRITER}.0-9.{DIGEST}.parquet", "segment", WRITER, 0, 9, DIGEST)
    part = parse_run_file(part_name(chunk_name(WRITER, 0), 7))
    assert part is not None
    assert (part.kind, part.writer, part.first, part.part) == ("chunk", WRITER, 0, 7)


@pytest.mark.parametrize(
    "name",
    [
        "artifacts",
        f".tmp-{WRITER}.jsonl",
        f"{WRITER}.jsonl.tmp",
        f"{WRITER}.jsonl\n",
        f"{WRITER.upper()}.jsonl",
        f"{WRITER[1:]}.jsonl",
        f"{WRITER}.01.points.jsonl",
        f"{WRITER}.-1.points.jsonl",
        f"{WRITER}.1234567890.points.jsonl",
        f"{WRITER}.3-2.{DIGEST}.parquet",
        f"{WRITER}.0-1.{DIGEST[1:]}.parquet",
        f"{WRITER}.0-1.{DIGEST}.parquet.part00000000",
        f"{WRITER}.jsonl.part0",
        f"{WRITER}.jsonl (1)",
    ],
)
def test_other_names_are_nobodys(name: str) -> None:
    assert parse_run_file(name) is None


def test_a_run_made_here_lies_under_its_day() -> None:
    last_ms = 1_790_035_199_999  # 2026-09-21T23:59:59.999Z
    run_id = encode_run_id(last_ms, bytes(10))
    assert run_folder(run_id) == f"runs/2026-09-21/{run_id}"
    assert run_folder(encode_run_id(last_ms + 1, bytes(10))).startswith("runs/2026-09-22/")


def test_a_run_from_elsewhere_lies_under_its_digest() -> None:
    assert run_folder("my-run") == "runs/xb4/my-run"
    for run_id in ("My-Run", "../../etc/passwd", "con", "a/b", "ä", "x" * 65, " "):
        _, day, name = run_folder(run_id).split("/")
        assert is_day_folder(day)
        assert name[0] == "~"
        assert len(name) == 41
        assert name[1:3] == day[1:]


@pytest.mark.parametrize(
    ("name", "is_one"), [("2026-09-21", True), ("x0f", True), ("x0F", False), ("today", False), ("2026-09-21 ", False)]
)
def test_folders_below_runs(name: str, is_one: bool) -> None:
    assert is_day_folder(name) == is_one


def test_keys() -> None:
    assert experiment_key("12") == "experiments/12.json"
    assert (edits_key(WRITER), inbox_key(WRITER)) == (f"edits/{WRITER}.jsonl", f"inbox/{WRITER}.jsonl")
