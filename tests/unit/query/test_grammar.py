from __future__ import annotations

import pytest
from tests.unit.query.rows import found, refusal, run

from localtrack.query.expression import And, Condition, Field, Kind, Not, Operator, Or
from localtrack.query.fields import RUNS
from localtrack.query.grammar import MAX_CONDITIONS, MAX_DEPTH, parse_filter, parse_order_by
from localtrack.types import RunRow

NOW_MS = 1_000_000_000_000
LOSS = Field("metrics", "value", Kind.NUMBER, "loss")
STATUS = Field("runs", "status", Kind.TEXT)


def _condition(text: str) -> Condition:
    expression = parse_filter(text, RUNS, now_ms=NOW_MS)
    assert isinstance(expression, Condition)
    return expression


@pytest.mark.parametrize("text", ["", "   ", "\n\t", None])
def test_an_empty_filter_means_every_row(text: str | None) -> None:
    assert parse_filter(text, RUNS) is None


def test_not_binds_closest_and_or_loosest() -> None:
    a, b, c = (Condition(LOSS, Operator.LESS, (float(n),)) for n in (1, 2, 3))
    text = "NOT metrics.loss < 1 AND metrics.loss < 2 OR metrics.loss < 3"
    assert parse_filter(text, RUNS) == Or((And((Not(a), b)), c))


def test_parentheses_group() -> None:
    a, b, c = (Condition(LOSS, Operator.LESS, (float(n),)) for n in (1, 2, 3))
    text = "metrics.loss < 1 and (metrics.loss < 2 or not (metrics.loss < 3))"
    assert parse_filter(text, RUNS) == And((a, Or((b, Not(c)))))


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("metrics.loss", "loss"),
        ("metric.a.b.c", "a.b.c"),
        ("metrics.`val/loss x`", "val/loss x"),
        ('metrics."val-loss"', "val-loss"),
        ("`metrics`.loss", "loss"),
        ('metrics."a`b"', "a`b"),
        ("metrics.`a``b`", "a`b"),
        ("metrics.1e5", "1e5"),
        ("metrics.in", "in"),
        ("metrics.and", "and"),
        ("metrics.`MIN`", "MIN"),
        ("metrics.größe", "größe"),
        ("METRICS.Loss", "Loss"),
    ],
)
def test_keys_are_read_in_all_forms(written: str, key: str) -> None:
    assert _condition(f"{written} > 1").field == Field("metrics", "value", Kind.NUMBER, key)


@pytest.mark.parametrize("entity", ["attribute", "attributes", "attr", "run", "Attributes"])
def test_attributes_have_aliases(entity: str) -> None:
    assert _condition(f"{entity}.status = 'x'").field == _condition("status = 'x'").field == STATUS


@pytest.mark.parametrize("name", ["run_name", "`run name`", "`Run name`", '"Run Name"', "attributes.`Run Name`"])
def test_a_filter_on_the_run_name_asks_the_tag(name: str) -> None:
    assert _condition(f"{name} = 'x'").field == Field("tags", "value", Kind.TEXT, "mlflow.runName")


def test_an_order_by_the_run_name_asks_the_attribute() -> None:
    (key,) = parse_order_by(["run_name DESC"], RUNS)
    assert key.field == Field("runs", "run_name", Kind.TEXT)
    assert not key.is_ascending


@pytest.mark.parametrize(("function", "column"), [("MIN", "min"), ("max", "max"), ("Latest", "value")])
def test_functions_choose_a_column_of_the_metric(function: str, column: str) -> None:
    assert _condition(f"{function}( metrics.`a b` ) > 1").field == Field("metrics", column, Kind.NUMBER, "a b")


@pytest.mark.parametrize(
    ("text", "value_ms"),
    [
        ("start_time > now()", NOW_MS),
        ("start_time > now() - 2d", NOW_MS - 2 * 86_400_000),
        ("start_time > NOW() - 1w + 1h30m - 15s", NOW_MS - 604_800_000 + 5_400_000 - 15_000),
        ("start_time > now()-1.5h", NOW_MS - 5_400_000),
        ("start_time > '1970-01-02'", 86_400_000),
        ("start_time > '1970-01-01T00:00:00.001Z'", 1),
        ("start_time > '1970-01-01T01:00:00+01:00'", 0),
        ("start_time > -5", -5),
        ("created > 7", 7),
        ("duration_ms > 1h30m", 5_400_000),
        ("duration_ms > 250", 250),
    ],
)
def test_times_and_durations_are_milliseconds(text: str, value_ms: int) -> None:
    assert _condition(text).values == (value_ms,)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("params.lr = 0.1", 0.1),
        ("params.lr = '0.1'", "0.1"),
        ('params.lr = "0.1"', "0.1"),
        ("params.lr = -1E-3", -0.001),
        ("params.lr = true", True),
        ("params.lr = FALSE", False),
        ("params.lr = 'it''s'", "it's"),
        ("experiment_id = 12", "12"),
        ("metrics.loss = 5", 5.0),
        ("metrics.loss = -inf", float("-inf")),
    ],
)
def test_values_keep_their_type(text: str, value: object) -> None:
    (read,) = _condition(text).values
    assert read == value
    assert type(read) is type(value)


def test_a_list_may_hold_punctuation() -> None:
    assert _condition("status IN (')', ',', '(')").values == (")", ",", "(")


def test_a_list_may_end_with_a_comma() -> None:
    assert _condition("status IN ('a', 'b',)").values == ("a", "b")


def test_the_error_shows_the_text_and_points_at_the_place() -> None:
    assert refusal("metrics.loss < 0.1 AND metrics.acc ~ 3") == (
        "The filter cannot be read: found '~' at character 36.\n"
        "  metrics.loss < 0.1 AND metrics.acc ~ 3\n"
        "                                     ^ expected =, !=, <, <=, >, >=, LIKE, ILIKE, IN, BETWEEN, IS NULL or "
        "IS NOT NULL."
    )


def test_the_error_cuts_a_window_out_of_a_long_text_and_still_points_at_the_place() -> None:
    text = "metrics.loss < 1 OR " * 50 + "metrics.loss\n< x" + " OR metrics.loss < 1" * 50
    _, shown, carets, *_ = refusal(text).split("\n")
    assert len(shown) < 140
    assert shown[carets.index("^")] == "x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.val-loss > 1", "`backticks`"),
        ("metrics.val/loss > 1", "`backticks`"),
        ("loss < 1", "metrics.<key>"),
        ("metrics.loss = '1'", "Leave the quotes out"),
        ("params.lr < '0.1'", "without quotes"),
        ("params.lr BETWEEN '1' AND '2'", "without quotes"),
        ("params.flag < true", "no order"),
        ("experiment_id > '1'", "no order"),
        ("metrics.loss = nan", "NaN equals nothing"),
        ("status = FINISHED", "a text in quotes"),
        ("status = 5", "a text in quotes"),
        ("metrics.loss LIKE 'a'", "no pattern"),
        ("params.lr IN (1, 'a')", "another number"),
        ("params.lr IN (1, true)", "another number"),
        ("params.lr IN ('a' 'b')", "',' or ')'"),
        ("params.lr IN ()", "a text in quotes, a number"),
        ("params.lr BETWEEN 1 OR 2", "AND and the upper end"),
        ("params.lr NOT 5", "LIKE, ILIKE, IN or BETWEEN"),
        ("params.lr IS 5", "NULL"),
        ("datasets.name IS NULL", "no meaning"),
        ("datasets.color = 'x'", "name, digest, context"),
        ("model.a = 1", "before the dot"),
        ("metrics. > 1", "a key of letters"),
        ("metrics.`` > 1", "a key of letters"),
        ("MIN(params.lr) > 1", "a metric inside MIN()"),
        ("MIN(MAX(metrics.a)) > 1", "one of"),
        ("\"metrics\"'.a' > 1", "one of"),
        ("MIN metrics.a > 1", "one of"),
        ("start_time > 'soon'", "now() - 2d"),
        ("start_time > now() - 2", "a duration"),
        ("start_time > now() - 2y", "a duration"),
        ("duration_ms > '5m'", "Leave the quotes out"),
        ("metrics.loss > 1 AND", "a field such as"),
        ("metrics.loss > 1 metrics.loss < 2", "AND, OR or the end"),
        ("metrics.loss > 1;", "AND, OR or the end"),
        ("(metrics.loss > 1", "')'"),
        ("metrics.loss > 1)", "AND, OR or the end"),
        ("params.lr = 'a", "closing quote"),
        ("metrics.loss > - 1", "a number"),
        ("metrics.loss > 1 {# a #}", "without comments"),
        ("metrics.loss > 1 -- a", "AND, OR or the end"),
        ("params.a = N'x'", "a plain quote"),
        ("params.a = `x`", "a text in quotes"),
        ("params.a = '\ud800'", "UTF-8"),
        ("(" * 70 + "metrics.a > 1" + ")" * 70, f"at most {MAX_DEPTH} levels"),
        (" OR ".join(["metrics.a > 1"] * (MAX_CONDITIONS + 1)), f"at most {MAX_CONDITIONS} conditions"),
    ],
)
def test_the_error_says_what_was_expected(text: str, expected: str) -> None:
    assert expected in refusal(text)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["metrics.a", "LATEST(metrics.a)"], "each field once"),
        (["metrics.a", "metrics.`a` DESC"], "each field once"),
        (["start_time", "Created"], "each field once"),
        (["metrics.a UP"], "ASC, DESC"),
        (["metrics.a, metrics.b"], "ASC, DESC"),
        (["datasets.name"], "data sets are several"),
        ([""], "a field such as"),
    ],
)
def test_order_errors_say_what_was_expected(order: list[str], expected: str) -> None:
    assert expected in refusal("", order_by=order)


def test_one_text_is_one_order_key() -> None:
    assert parse_order_by("metrics.loss DESC", RUNS) == parse_order_by(["metrics.loss DESC"], RUNS)


def test_the_greatest_filters_run() -> None:
    rows: list[RunRow] = [run("a", metrics={"k7": 1.0}), run("b")]
    distinct = " OR ".join(f"metrics.k{n} = 1" for n in range(MAX_CONDITIONS))
    assert found(rows, distinct) == ["a"]
    assert found(rows, " AND ".join(["metrics.k7 = 1"] * MAX_CONDITIONS)) == ["a"]
    mixed = "metrics.k7 = 1"
    for level in range((MAX_DEPTH - 1) // 2):
        mixed = f"NOT (metrics.k{level} = 2 OR metrics.k7 = 1 AND {mixed})"
    assert set(found(rows, mixed)) | set(found(rows, f"NOT {mixed}")) == {"a", "b"}
    deep = MAX_DEPTH - 1
    assert found(rows, "(" * deep + "metrics.k7 = 1" + ")" * deep) == ["a"]
