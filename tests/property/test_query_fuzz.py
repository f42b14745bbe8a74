"""Any text whatsoever as a filter, an order key or a page token gives an answer or one kind of error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.query.rows import run

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.query.experiments import search_experiments
from localtrack.query.pages import parse_token
from localtrack.query.search import search_runs
from localtrack.query.tokens import MAX_FILTER_CHARS, _merge, _scan_any, _scan_plain, _unclosed_quote
from localtrack.types import Experiment

ROWS = [run("r1", metrics={"a": 1.0}, params={"p": "0.1"}, tags={"t": "x\0y"}), run("r2", end_time=None)]
EXPERIMENTS = [Experiment("0", "Default", "a", tags={"t": "1"}), Experiment("7", "x/y", "b", creation_time=5)]

# Texts that come near to filters reach further than arbitrary ones.
WORDS = [
    *(
        "metrics.a",
        "MIN(metrics.a)",
        "params.p",
        "tags.`t`",
        'tags."t"',
        "status",
        "run_id",
        "start_time",
        "duration_ms",
    ),
    *(
        "dataset.name",
        "`run name`",
        "experiment_id",
        "name",
        "creation_time",
        "LATEST(",
        "now()",
        "now",
        "metrics.",
        ".a",
    ),
    *(
        "=",
        "!=",
        "<>",
        "==",
        "<",
        ">=",
        "LIKE",
        "ilike",
        "IN",
        "NOT",
        "BETWEEN",
        "IS",
        "NULL",
        "AND",
        "or",
        "(",
        ")",
        ",",
    ),
    *(
        "1",
        "-1",
        ".5",
        "1e400",
        "9" * 400,
        "2d",
        "1h30m",
        "inf",
        "nan",
        "true",
        "'x'",
        '"x"',
        "'it''s'",
        "'2024-01-01'",
    ),
    *(
        "'",
        '"',
        "`",
        ";",
        "--",
        "/*",
        "*/",
        "{#",
        "#}",
        "{{",
        "$$",
        "N'x'",
        "0x1F",
        "\0",
        "\ud800",
        "\u2028",
        "日",
        "🦉",
        "\\",
    ),
    *("'99999-01-01'", "'0001-01-01T00:00:00+23:59'", "999999999999999w", "'\0'", "-", "+", ".", "%", "٣", "²", "\x1c"),
]
near_filters = st.lists(st.sampled_from(WORDS), max_size=14).flatmap(
    lambda words: st.sampled_from([" ".join(words), "".join(words)])
)
anything = st.text(st.characters(codec=None), max_size=60) | near_filters


def _refusal(search: Callable[[], object]) -> InvalidInputError | None:
    try:
        search()
    except InvalidInputError as error:
        return error
    return None


@given(anything)
@example("(" * 100_000)
@example("MIN(" * 100_000 + "metrics.a")
@example("NOT " * 100_000 + "metrics.a > 1")
@example(" AND ".join(["metrics.a > 1"] * 100_000))
@example("run_id IN (" + ",".join(f"'{n}'" for n in range(20_000)) + ")")
@example("metrics." + "a" * 999_000 + " > 1")
@example("x" * 2_000_000)
@example("params.p = '" + "''" * 100_000 + "'")
@example("start_time > " + "9" * 10_000)
@example("start_time > now() - " + "9" * 10_000 + "d")
@example("start_time > now()" + " + 999999999999999w" * 1_000)
@example("'" * 100_001)
@example("metrics.a IN (" + "1," * 5_000 + "1)")
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    for search in (
        lambda: search_runs(ROWS, filter_string=text),
        lambda: search_experiments(EXPERIMENTS, filter_string=text),
    ):
        refused = _refusal(search)
        if refused:
            assert refused.code == ErrorCode.INVALID_FILTER
            assert len(str(refused)) < 1_000
            assert "^" in str(refused) or len(text) > MAX_FILTER_CHARS


plain_signs = st.text("abeENxXrRuU019_. '\"`=<>!(),+-\t\n", max_size=14)


@given(anything | plain_signs)
@example("metrics.loss < 1e-3 and params.`a b` = 'adam'")
@example("x'41' = N'x'")
@example("1E5+3<=>'%'")
@example("now()-2d")
@example("'it''s'")
def test_the_quick_tokenizer_cuts_a_text_as_sqlglot_does_or_leaves_it(text: str) -> None:
    plain = None if _unclosed_quote(text) else _scan_plain(text)
    if plain is not None:
        assert _merge(text, plain, "filter") == _merge(text, _scan_any(text), "filter")


def test_the_quick_tokenizer_takes_what_people_write() -> None:
    for text in (
        "metrics.loss < 0.1 and params.optimizer = 'adam'",
        "metrics.`val loss` BETWEEN -1 AND +1.5 OR NOT (tags.\"team\" IN ('a', 'b'))",
        "start_time > now() - 2d AND status != 'FAILED'",
    ):
        assert _scan_plain(text) is not None, text


@given(anything)
def test_any_text_is_an_order_key_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidInputError):
        search_runs(ROWS, order_by=[text])
    with contextlib.suppress(InvalidInputError):
        search_experiments(EXPERIMENTS, order_by=[text])


@given(st.text(st.characters(codec=None), max_size=60) | st.binary(max_size=60))
@example("W1tb" * 50)
@example("eyJvZmZzZXQiOiAxZTQwMH0=")
@example("eyJvZmZzZXQiOiB0cnVlfQ==")
def test_any_token_is_a_place_or_refused(token: str | bytes) -> None:
    refused = _refusal(lambda: parse_token(token))
    assert refused.code == ErrorCode.INVALID_VALUE if refused else parse_token(token) >= 0


@pytest.mark.parametrize("value", [5, b"metrics.a > 1", ["status = 'x'"], 1.5])
def test_a_filter_that_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match="is a text"):
        search_runs(ROWS, filter_string=value)  # type: ignore[arg-type]
