"""Random rows, random filters: the compiled search finds what plain evaluation in Python finds, in the same order."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.query.rows import BASE_MS, data_set, found, metric, run

from localtrack.types import DatasetInput, RunRow

KEYS = ["a", "b.c", "x y", "in", "é/`"]
TEXTS = [
    "",
    "a",
    "A",
    "aé",
    "AÉ",
    "ab",
    "a%",
    "a_",
    "a\nb",
    "0.5",
    "10",
    "9",
    "1e1",
    "-1",
    ".5",
    "5.",
    " 1",
    "1_0",
    "nan",
]
TEXTS += ["inf", "-Infinity", "True", "false", "banana", "it's", 'a "b"', "\\%", "日本"]
NUMBERS = [0.0, 1.0, -1.0, 0.5, 2.5, 10.0, 1e300, math.inf, -math.inf, math.nan]
STATUSES = ["RUNNING", "FINISHED", "FAILED"]
NAMES = {"0": "Default", "1": "other"}

texts = st.sampled_from(TEXTS)
numbers = st.sampled_from(NUMBERS)


@st.composite
def run_rows(draw: st.DrawFn) -> list[RunRow]:
    rows = []
    for place in range(draw(st.integers(0, 6))):
        start_ms = BASE_MS + draw(st.integers(0, 3))
        end_ms = draw(st.none() | st.integers(0, 3).map(lambda more, start_ms=start_ms: start_ms + more))
        summaries = st.builds(lambda v, low, high: metric(v, low=low, high=high), numbers, numbers, numbers)
        context = st.none() | st.sampled_from(["train", "eval"])
        rows.append(
            run(
                f"r{place}",
                metrics=draw(st.dictionaries(st.sampled_from(KEYS), summaries)),
                params=draw(st.dictionaries(st.sampled_from(KEYS), texts)),
                tags=draw(st.dictionaries(st.sampled_from(KEYS), texts)),
                datasets=tuple(draw(st.lists(st.builds(data_set, texts, texts, context), max_size=2))),
                experiment_id=draw(st.sampled_from(["0", "1", "2"])),
                run_name=draw(texts),
                status=draw(st.sampled_from(STATUSES)),
                start_time=start_ms,
                end_time=end_ms,
                lifecycle_stage=draw(st.sampled_from(["active", "deleted"])),
            )
        )
    return draw(st.permutations(rows))


@dataclass(frozen=True)
class Asked:
    """A filter as text, and as a plain function."""

    text: str
    holds: Callable[[RunRow], bool]

    def __repr__(self) -> str:
        return self.text


# A field: its text, the values that a row has of it (one, none, or several for data sets), and its kind.
Field = tuple[str, Callable[[RunRow], list[object]], str]


def _quoted_key(key: str) -> st.SearchStrategy[str]:
    forms = [f"`{key.replace('`', '``')}`", f'"{key}"']
    return st.sampled_from(forms + ([key] if re.fullmatch(r"[\w.]+", key) else []))


@st.composite
def fields(draw: st.DrawFn) -> Field:
    key = draw(st.sampled_from(KEYS))
    written = draw(_quoted_key(key))
    match draw(st.integers(0, 7)):
        case 0:
            function = draw(st.sampled_from(["", "MIN", "max", "LATEST"]))
            column = {"": "value", "MIN": "min", "max": "max", "LATEST": "value"}[function]
            text = f"{function}(metrics.{written})" if function else f"metric.{written}"
            return text, lambda row: [getattr(row.metrics[key], column)] if key in row.metrics else [], "number"
        case 1:
            return f"params.{written}", lambda row: [row.params[key]] if key in row.params else [], "loose"
        case 2:
            return f"tag.{written}", lambda row: [row.tags[key]] if key in row.tags else [], "loose"
        case 3:
            name = draw(st.sampled_from(["name", "digest", "context"]))
            return (
                f"datasets.{name}",
                lambda row: [v for d in row.datasets if (v := _part(d, name)) is not None],
                "text",
            )
        case 4:
            name = draw(st.sampled_from(["start_time", "end_time"]))
            return name, lambda row: [] if (v := getattr(row.info, name)) is None else [v], "time"
        case 5:
            return "attributes.duration_ms", _duration_ms, "duration"
        case 6:
            return "experiment_name", lambda row: [n] if (n := NAMES.get(row.info.experiment_id)) else [], "text"
        case _:
            name = draw(st.sampled_from(["status", "run_name", "run_id", "lifecycle_stage"]))
            return name, lambda row: [getattr(row.info, name)], "text"


def _part(read: DatasetInput, name: str) -> str | None:
    return read.context if name == "context" else getattr(read.dataset, name)


def _duration_ms(row: RunRow) -> list[object]:
    return [] if row.info.end_time is None else [row.info.end_time - row.info.start_time]


def _number_in(text: str) -> float | None:
    """Return the number that a param holds; Python's own idea of numbers is wider."""
    return None if "_" in text or text != text.strip() or text == "" else _float(text)


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _boolean_in(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def _likes(pattern: str, value: str, *, ignore_case: bool) -> bool:
    if ignore_case:
        pattern, value = pattern.lower(), value.lower()
    parts = [".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern]
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None


def _compare(operator: str, value: object, operand: object) -> bool:
    match operator:
        case "=" | "==":
            return value == operand
        case "!=" | "<>":
            return value != operand
        case "<":
            return value < operand  # type: ignore[operator]
        case "<=":
            return value <= operand  # type: ignore[operator]
        case ">":
            return value > operand  # type: ignore[operator]
        case _:
            return value >= operand  # type: ignore[operator]


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return str(value)
    return _quote(value) if isinstance(value, str) else repr(value)


@st.composite
def operands(draw: st.DrawFn, kind: str) -> tuple[str, Callable[[], object], Callable[[object], object | None]]:
    """Choose what a field is compared as: the type, a draw of values, how a row's value is read (None: never)."""
    kind = draw(st.sampled_from(["text", "number", "boolean"])) if kind == "loose" else kind
    match kind:
        case "number":
            finite = st.sampled_from([n for n in NUMBERS if not math.isnan(n)])
            return "number", lambda: draw(finite), lambda v: _number_in(v) if isinstance(v, str) else v
        case "boolean":
            return "boolean", lambda: draw(st.booleans()), lambda v: _boolean_in(str(v))
        case "time":
            moments = st.integers(-1, 5).map(lambda more: BASE_MS + more)
            return "time", lambda: draw(moments | moments.map(lambda ms: ms + 0.5)), lambda v: v
        case "duration":
            return "duration", lambda: draw(st.integers(-1, 4)), lambda v: v
        case _:
            choices = TEXTS + STATUSES + ["r1", "active", "deleted", "Default", "train"]
            return "text", lambda: draw(st.sampled_from(choices)), lambda v: v


@st.composite
def conditions(draw: st.DrawFn) -> Asked:
    name, values_of, kind = draw(fields())
    if draw(st.integers(0, 9)) == 0 and not name.startswith("dataset"):
        negated = draw(st.booleans())
        return Asked(f"{name} IS {'NOT ' if negated else ''}NULL", lambda row: bool(values_of(row)) == negated)
    typed, draw_value, read = draw(operands(kind))
    is_text = typed == "text"
    form = draw(st.sampled_from(["compare", "in", "between"] + (["like"] if is_text else [])))
    negated = draw(st.booleans())
    word = "NOT " if negated else ""

    def any_value(row: RunRow, holds: Callable[[object], bool]) -> bool:
        return any(holds(v) for raw in values_of(row) if (v := read(raw)) is not None)

    if form == "between" and (typed == "boolean" or (is_text and kind == "loose")):
        form = "in"  # booleans have no order, and texts that look like numbers are refused
    if form == "compare":
        equals = ["=", "!=", "==", "<>"]
        has_order = typed != "boolean" and not (is_text and kind == "loose")
        operator = draw(st.sampled_from(equals + (["<", "<=", ">", ">="] if has_order else [])))
        operand = draw_value()
        return Asked(
            f"{name} {operator} {_literal(operand)}",
            lambda row: any_value(row, lambda v: _compare(operator, v, operand)),
        )
    if form == "in":
        chosen = [draw_value() for _ in range(draw(st.integers(1, 3)))]
        chosen += chosen[:1] * draw(st.sampled_from([0, 0, 40]))  # the long form of IN is compiled another way
        return Asked(
            f"{name} {word}IN ({', '.join(map(_literal, chosen))})",
            lambda row: any_value(row, lambda v: (v in chosen) != negated),
        )
    if form == "between":
        low, high = draw_value(), draw_value()
        return Asked(
            f"{name} {word}BETWEEN {_literal(low)} AND {_literal(high)}",
            lambda row: any_value(
                row,
                lambda v: (v < low or v > high) if negated else low <= v <= high,  # type: ignore[operator]
            ),
        )
    pattern = draw(st.sampled_from(["%", "a%", "%É", "_", "a_b", "A%", "%a%", "", "\\%", "日_"]))
    ignore_case = draw(st.booleans())
    return Asked(
        f"{name} {word}{'ILIKE' if ignore_case else 'LIKE'} {_quote(pattern)}",
        lambda row: any_value(row, lambda v: _likes(pattern, str(v), ignore_case=ignore_case) != negated),
    )


def _joined(parts: list[Asked], word: str, combine: Callable[[list[bool]], bool]) -> Asked:
    return Asked(
        f"({f' {word} '.join(p.text for p in parts)})", lambda row: combine([part.holds(row) for part in parts])
    )


filters = st.recursive(
    conditions(),
    lambda inner: st.one_of(
        inner.map(lambda part: Asked(f"NOT {part.text}", lambda row: not part.holds(row))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: _joined(parts, "AND", all)),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: _joined(parts, "or", any)),
    ),
    max_leaves=6,
)


@given(run_rows(), filters)
def test_a_filter_finds_what_plain_evaluation_finds(rows: list[RunRow], asked: Asked) -> None:
    expected = sorted(row.info.run_id for row in rows if asked.holds(row))
    assert sorted(found(rows, asked.text, view_type=3, experiment_names=NAMES)) == expected


@given(st.lists(conditions(), min_size=1, max_size=4), run_rows())
def test_and_binds_closer_than_or_and_not_closest(parts: list[Asked], rows: list[RunRow]) -> None:
    text, holds = f"NOT {parts[0].text}", [lambda row: not parts[0].holds(row)]
    alternatives = [holds]
    for place, part in enumerate(parts[1:]):
        if place % 2:
            text, holds = f"{text} AND {part.text}", [*holds, part.holds]
            alternatives[-1] = holds
        else:
            text, holds = f"{text} OR {part.text}", [part.holds]
            alternatives.append(holds)
    expected = sorted(r.info.run_id for r in rows if any(all(h(r) for h in group) for group in alternatives))
    assert sorted(found(rows, text, view_type=3, experiment_names=NAMES)) == expected


@given(run_rows(), st.lists(st.tuples(fields(), st.booleans()), max_size=3), st.integers(1, 4))
def test_order_and_pages_are_those_of_a_plain_sort(
    rows: list[RunRow], keys: list[tuple[Field, bool]], page: int
) -> None:
    unique = {
        name.replace('"', "`"): ((name, values_of), up) for (name, values_of, _), up in keys if "data" not in name
    }
    if len({_meaning(name) for name in unique}) < len(unique):
        return  # the same field twice, in two spellings, is an error

    def compare(left: RunRow, right: RunRow) -> int:
        for (_, values_of), up in unique.values():
            if answer := _in_order(values_of(left), values_of(right), up):
                return answer
        natural = [(-row.info.start_time, row.info.run_id) for row in (left, right)]
        return (natural[0] > natural[1]) - (natural[0] < natural[1])

    order = [f"{name} {'ASC' if up else 'desc'}" for (name, _), up in unique.values()]
    if any(_meaning(name) == "start_time" for name in unique):
        order = [o for o in order if not o.startswith("start_time")]
        unique = {k: v for k, v in unique.items() if _meaning(k) != "start_time"}
    expected = [row.info.run_id for row in sorted(rows, key=functools.cmp_to_key(compare))]
    search = {"order_by": order, "view_type": 3, "experiment_names": NAMES}
    assert found(rows, "", **search) == expected
    assert _all_pages(rows, page, **search) == expected


def _all_pages(rows: list[RunRow], page: int, **search: object) -> list[str]:
    from localtrack.query.search import search_runs

    ids: list[str] = []
    token = None
    while True:
        answer = search_runs(rows, max_results=page, page_token=token, **search)  # type: ignore[arg-type]
        assert len(answer) <= page
        ids += [row.info.run_id for row in answer]
        token = answer.token
        if token is None:
            return ids


def _meaning(name: str) -> str:
    plain = name.replace("`", "").replace("LATEST(metrics.", "metric.").rstrip(")")
    return plain.removeprefix("attributes.")


def _in_order(left: list[object], right: list[object], up: bool) -> int:
    def rank(values: list[object]) -> tuple[int, object]:
        if not values:
            return 2, 0
        return (1, 0) if isinstance(values[0], float) and math.isnan(values[0]) else (0, values[0])

    (left_rank, a), (right_rank, b) = rank(left), rank(right)
    if left_rank != right_rank:
        return left_rank - right_rank
    answer = (a > b) - (a < b)  # type: ignore[operator]
    return answer if up else -answer
