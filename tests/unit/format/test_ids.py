"""Ids: functions of their arguments, and a clear refusal of what can be none."""

from __future__ import annotations

import datetime
import hashlib
import uuid

import pytest

from localtrack.errors import InvalidInputError
from localtrack.format.ids import (
    MAX_RUN_ID_CHARS,
    encode_experiment_id,
    encode_job_run_id,
    encode_run_id,
    is_safe_id,
    is_writer_id,
    parse_experiment_id,
    parse_run_id,
    parse_run_time_ms,
)

NOW_MS = 1_790_000_000_000


@pytest.mark.parametrize("random", [bytes(10), b"\xff" * 10, bytes(range(10))])
def test_a_run_id_is_a_uuid_of_version_7(random: bytes) -> None:
    run_id = encode_run_id(NOW_MS, random)
    parsed = uuid.UUID(run_id)
    assert (parsed.hex, parsed.version, parsed.variant) == (run_id, 7, uuid.RFC_4122)
    assert parse_run_time_ms(run_id) == NOW_MS


def test_run_ids_order_by_time_and_differ_by_chance() -> None:
    assert encode_run_id(NOW_MS, b"\xff" * 10) < encode_run_id(NOW_MS + 1, bytes(10))
    assert encode_run_id(NOW_MS, bytes(10)) != encode_run_id(NOW_MS, bytes(9) + b"\1")


def _ms(year: int) -> int:
    return int(datetime.datetime(year, 1, 1, tzinfo=datetime.UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("run_id", "has_time"),
    [
        (encode_run_id(_ms(2000), bytes(10)), True),
        (encode_run_id(_ms(2000) - 1, bytes(10)), False),
        (encode_run_id(_ms(2200) - 1, bytes(10)), True),
        (encode_run_id(_ms(2200), bytes(10)), False),
        (uuid.UUID(int=7, version=4).hex, False),
        (encode_run_id(NOW_MS, bytes(10)).upper(), False),
        (encode_run_id(NOW_MS, bytes(10)) + "\n", False),
        ("mine", False),
    ],
)
def test_only_ids_made_here_have_a_time(run_id: str, has_time: bool) -> None:
    assert (parse_run_time_ms(run_id) is not None) == has_time


def test_an_experiment_id_is_that_of_its_name_on_every_machine() -> None:
    digits = hashlib.sha256(b"0:/Shared/churn").hexdigest()[:15]
    assert encode_experiment_id("/Shared/churn", 0) == str(int(digits, 16))
    assert encode_experiment_id("/Shared/churn", 1) != encode_experiment_id("/Shared/churn", 0)
    assert encode_experiment_id("a\u0308", 0) == encode_experiment_id("\u00e4", 0)  # composed in one way or the other
    assert encode_experiment_id("A", 0) != encode_experiment_id("a", 0)


@pytest.mark.parametrize("text", ["0", "a", "0-a_b", "a" * 64])
def test_ids_from_elsewhere_that_are_file_names_everywhere_are_safe(text: str) -> None:
    assert is_safe_id(text)
    assert parse_experiment_id(text) == text


@pytest.mark.parametrize("text", ["", "A", "-a", "_", "a.b", "a/b", "..", "a" * 65, "con", "lpt9", "nul", "ä", "a\n"])
def test_other_ids_are_not(text: str) -> None:
    assert not is_safe_id(text)
    with pytest.raises(InvalidInputError):
        parse_experiment_id(text)


def test_an_experiment_id_may_come_as_a_number() -> None:
    assert parse_experiment_id(17) == "17"


@pytest.mark.parametrize("run_id", ["a", "../etc", "MiXed", "ä\n", "x" * MAX_RUN_ID_CHARS])
def test_any_text_can_be_a_run_id(run_id: str) -> None:
    assert parse_run_id(run_id) == run_id


@pytest.mark.parametrize("run_id", ["", None, 7, b"a", "x" * (MAX_RUN_ID_CHARS + 1), "\ud800"])
def test_what_is_no_text_is_refused(run_id: object) -> None:
    with pytest.raises(InvalidInputError, match="is not a run id"):
        parse_run_id(run_id)


def test_a_job_comes_to_one_run_in_each_experiment() -> None:
    assert encode_job_run_id("1", "job") == encode_job_run_id("1", "job")
    assert len({encode_job_run_id(*names) for names in [("1", "job"), ("2", "job"), ("1", "b"), ("1\nj", "ob")]}) == 4
    assert is_safe_id(encode_job_run_id("1", "job"))


@pytest.mark.parametrize(
    ("text", "is_one"), [("0" * 20, True), ("0" * 19, False), ("A" * 20, False), ("g" * 20, False)]
)
def test_a_writer_id_has_twenty_digits(text: str, is_one: bool) -> None:
    assert is_writer_id(text) == is_one
