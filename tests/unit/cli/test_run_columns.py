"""Which columns the table of runs has, and how a run looks in it."""

from __future__ import annotations

import pytest

from localtrack.cli.run_columns import choose_columns, format_status, parse_column, run_table, shortest_id_chars
from localtrack.errors import InvalidInputError
from localtrack.types import MetricSummary, RunInfo, RunRow


def row(
    run_id: str = "r1", *, metrics: dict[str, float] | None = None, end_time: int | None = 61_000, **texts: str
) -> RunRow:
    info = RunInfo(
        run_id=run_id,
        experiment_id="7",
        run_name="name",
        user_id="me",
        status="RUNNING" if end_time is None else "FINISHED",
        start_time=1_000,
        end_time=end_time,
        lifecycle_stage="active",
        artifact_uri="",
    )
    summaries = {key: MetricSummary(value, 0, 0, value, value, 1) for key, value in (metrics or {}).items()}
    return RunRow(info, params=texts, tags={"team": "a"}, metrics=summaries)


def test_what_the_search_names_comes_first() -> None:
    rows = [row(metrics={"acc": 1.0, "loss": 2.0}, lr="1"), row(metrics={"acc": 1.0}, lr="2")]
    expressions = ["metrics.loss ASC", "params.`a b` = 'x' AND tags.team = 'a' AND metric.\"val/acc\" > 0"]
    assert choose_columns(rows, expressions=expressions) == [
        ("metrics", "loss"),
        ("params", "a b"),
        ("tags", "team"),
        ("metrics", "val/acc"),
        ("metrics", "acc"),
        ("params", "lr"),
    ]


def test_common_metrics_and_differing_params_are_chosen() -> None:
    rows = [row(metrics=dict.fromkeys("abcd", 1.0), lr="1", same="x"), row(metrics={"d": 1.0}, lr="2", same="x")]
    assert choose_columns(rows, expressions=[]) == [
        ("metrics", "d"),
        ("metrics", "a"),
        ("metrics", "b"),
        ("params", "lr"),
    ]


def test_a_param_that_only_one_run_has_does_not_differ() -> None:
    assert choose_columns([row(lr="1"), row()], expressions=[]) == []


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("metrics.loss", ("metrics", "loss")),
        ("Param.a.b", ("params", "a.b")),
        ("tag.`x y`", ("tags", "x y")),
        ("parameters.x", ("params", "x")),
    ],
)
def test_columns_are_named_as_in_filters(text: str, column: tuple[str, str]) -> None:
    assert parse_column(text) == column


@pytest.mark.parametrize("text", ["loss", "metrics.", "metrics", "users.x", ""])
def test_what_is_no_column_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a column"):
        parse_column(text)


def test_the_table_shows_missing_values_as_dashes() -> None:
    columns, table = run_table(
        [row(metrics={"loss": 0.5})],
        keys=[("metrics", "loss"), ("metrics", "acc"), ("params", "lr"), ("tags", "team")],
        states={},
        experiment_names={},
        id_chars=None,
        now_ms=0,
    )
    assert [column.title for column in columns][-4:] == ["loss", "acc", "lr", "team"]
    assert table[0][-5:] == ["1 min 00 s", "0.5", "-", "-", "a"]


def test_a_live_run_lasts_until_now_and_a_silent_one_until_its_last_sign() -> None:
    rows = [row(run_id, end_time=None) for run_id in ("alive", "silent", "dead")]
    _, table = run_table(
        rows,
        keys=[],
        states={"alive": ("alive", None), "silent": ("silent", 3_000), "dead": ("dead", None)},
        experiment_names={"7": "team/a"},
        id_chars=None,
        now_ms=11_000,
    )
    assert [line[-1] for line in table] == ["10.0 s", "2.0 s", "-"]
    assert [line[3] for line in table] == ["RUNNING (alive)", "RUNNING (silent 8.0 s)", "RUNNING (dead)"]
    assert [line[2] for line in table] == ["team/a"] * 3


def test_a_silent_run_of_a_host_whose_clock_is_ahead_is_silent_for_no_time() -> None:
    assert format_status("RUNNING", ("silent", 5_000), now_ms=1_000) == "RUNNING (silent 0 ms)"


def test_a_run_that_ended_has_a_plain_status() -> None:
    assert format_status("FAILED", ("ended", None), now_ms=0) == "FAILED"


@pytest.mark.parametrize(
    ("ids", "chars"),
    [
        ([], 12),
        (["a" * 32], 12),
        (["a" * 32, "b" * 32], 12),
        (["0" * 20 + "a" * 12, "0" * 20 + "b" * 12], 21),
        (["short", "shorter-but-longer"], 12),
        (["0" * 14, "0" * 14 + "1"], 15),
    ],
)
def test_ids_are_as_short_as_tells_them_apart(ids: list[str], chars: int) -> None:
    assert shortest_id_chars(ids) == chars
    assert len({run_id[:chars] for run_id in ids}) == len(ids)
