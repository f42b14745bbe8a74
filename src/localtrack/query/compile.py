"""Expression -> one DuckDB statement with bound parameters.

Every key that is asked about is a column of one wide relation, which whoever runs the statement makes of the narrow and
the tall ones: a scan without a join (a join for each key takes time that grows with the square of their number). A row
that lacks the key has NULL there, and a comparison with NULL counts as false, so that NOT is a plain complement.
DuckDB's NaN equals itself and is greater than all; MLflow's fulfils only `!=`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from localtrack.query.expression import (
    ORDERINGS,
    And,
    Condition,
    Expression,
    Field,
    Kind,
    Not,
    Operator,
    Or,
    OrderKey,
    Value,
)
from localtrack.query.fields import Scope
from localtrack.query.literals import NUMBER_PATTERN
from localtrack.query.relations import STAGES

Parameter = Value | list[Value]

_INLINE_VALUES_COUNT: Final = 32
"""Up to that many values of IN are compared one by one; a longer list is joined."""

_LIKES: Final = {
    Operator.LIKE: "LIKE",
    Operator.NOT_LIKE: "NOT LIKE",
    Operator.ILIKE: "ILIKE",
    Operator.NOT_ILIKE: "NOT ILIKE",
}


class Statement(NamedTuple):
    """A compiled search: gives the numbers of the rows that match, in order."""

    sql: str
    parameters: Mapping[str, Parameter]
    columns: frozenset[str]
    """Which columns of the narrow relation it reads, besides `row` and `stage`."""
    fields: Mapping[str, Field]
    """Which keys of tall relations it reads, by the name of the column that each is in the wide relation."""
    many: frozenset[str] = frozenset()
    """Which relations it reads besides, that hold any number of rows for one thing: `datasets`, `model_metrics`."""

    @property
    def has_datasets(self) -> bool:
        """Whether it reads the relation `datasets` too."""
        return "datasets" in self.many


def compile_search(
    scope: Scope,
    expression: Expression | None,
    order: Iterable[OrderKey],
    *,
    stages: Iterable[str],
    limit: int | None,
    offset: int = 0,
) -> Statement:
    """Return the statement that chooses and orders rows.

    Args:
        scope: What is searched.
        expression: Which rows; None for all.
        order: How they are ordered; ends with keys that leave no ties.
        stages: Life-cycle stages to return.
        limit: Greatest number of rows; None for all.
        offset: Rows to leave out at the beginning.
    """
    build = _Builder(scope)
    where = [f"b.stage IN ({', '.join(str(STAGES.index(stage)) for stage in stages)})"]
    if expression is not None:
        where.append(build.expression(expression))
    order_sql = ", ".join(build.order_key(key) for key in order)
    paging = (
        f" OFFSET {build.bind(offset)}" if limit is None else f" LIMIT {build.bind(limit)} OFFSET {build.bind(offset)}"
    )
    source = f"{scope.relation} b{build.joins()}"
    sql = f'SELECT b."row" FROM {source} WHERE {" AND ".join(where)} ORDER BY {order_sql}{paging}'
    return Statement(sql, build.parameters, frozenset(build.columns), dict(build.fields), many=frozenset(build.tests))


class _Builder:
    """Collects parameters and what the statement reads, while SQL is put together."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.parameters: dict[str, Parameter] = {}
        self.columns: set[str] = set()
        self.fields: dict[str, Field] = {}
        self.tests: dict[str, list[str]] = {}
        self._names: dict[tuple[str, str, str], str] = {}

    def bind(self, value: Parameter) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"${name}"

    def expression(self, expression: Expression) -> str:
        match expression:
            case Condition():
                return self._condition(expression)
            case Not(part):
                return f"(NOT {self.expression(part)})"
            case And(parts):
                return f"({' AND '.join(map(self.expression, parts))})"
            case Or(parts):
                return f"({' OR '.join(map(self.expression, parts))})"

    def order_key(self, key: OrderKey) -> str:
        column = self._column(key.field)
        direction = "ASC" if key.is_ascending else "DESC"
        missing = f"{column} IS NULL"
        if key.field.kind is Kind.NUMBER:
            missing = f"CASE WHEN {column} IS NULL THEN 2 WHEN isnan({column}) THEN 1 ELSE 0 END"
        if (
            key.field.kind is Kind.ID
        ):  # ids made of digits in the order of their numbers, as in MLflow; others after them
            number = f"TRY_CAST({column} AS HUGEINT)"
            return f"{missing}, {number} {direction} NULLS LAST, {column} {direction}"
        return f"{missing}, {column} {direction}"

    def joins(self) -> str:
        """Return the joins of the relations that hold any number of rows for one thing."""
        sql = ""
        for relation, tests in self.tests.items():
            found = ", ".join(f"bool_or({test}) AS d{i}" for i, test in enumerate(tests))
            pivot = f'SELECT d."row", {found} FROM {relation} d GROUP BY d."row"'
            sql += f' LEFT JOIN ({pivot}) {relation}_wide ON {relation}_wide."row" = b."row"'
        return sql

    def _column(self, field: Field) -> str:
        if field.relation == self._scope.relation:
            self.columns.add(field.column)
            return f"b.{field.column}"
        # A field may be asked about as text here and as a number there: it is one column all the same.
        name = self._names.setdefault((field.relation, field.key, field.column), f"c{len(self._names)}")
        self.fields[name] = field
        return f"b.{name}"

    def _condition(self, condition: Condition) -> str:
        field = condition.field
        if field.relation not in self._scope.many:
            column = self._column(field)
            if condition.operator is Operator.IS_NULL:
                return f"({column} IS NULL)"
            if condition.operator is Operator.IS_NOT_NULL:
                return f"({column} IS NOT NULL)"
            return f"coalesce({self._comparison(condition, column)}, FALSE)"
        # Each condition looks for a row of its own: the name and the context of data sets may come from two of them, as
        # in MLflow.
        is_null_test = condition.operator in (Operator.IS_NULL, Operator.IS_NOT_NULL)
        tests = ["TRUE"] if is_null_test else [self._comparison(condition, f"d.{field.column}")]
        if field.key:
            tests.insert(0, f"d.key = {self.bind(field.key)}")
        known = self.tests.setdefault(field.relation, [])
        known.append(f"({' AND '.join(tests)})")
        found = f"coalesce({field.relation}_wide.d{len(known) - 1}, FALSE)"
        return f"(NOT {found})" if condition.operator is Operator.IS_NULL else found

    def _comparison(self, condition: Condition, column: str) -> str:
        operator, values = condition.operator, condition.values
        sql_type = "VARCHAR"
        may_be_nan = False
        if isinstance(values[0], bool):
            column, sql_type = f"(CASE lower({column}) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END)", "BOOLEAN"
        elif not isinstance(values[0], str):
            sql_type = "DOUBLE"
            may_be_nan = condition.field.kind in (Kind.NUMBER, Kind.LOOSE)
            if condition.field.kind is Kind.LOOSE:
                is_number = f"regexp_full_match({column}, {self.bind(NUMBER_PATTERN)})"
                column = f"(CASE WHEN {is_number} THEN TRY_CAST({column} AS DOUBLE) END)"
        comparison = self._plain_comparison(operator, column, values, sql_type)
        if may_be_nan and operator not in (Operator.UNEQUAL, Operator.NOT_IN):
            return f"({comparison} AND NOT isnan({column}))"
        return comparison

    def _plain_comparison(self, operator: Operator, column: str, values: tuple[Value, ...], sql_type: str) -> str:
        if operator in (Operator.IN, Operator.NOT_IN):
            if len(values) <= _INLINE_VALUES_COUNT:
                return f"({column} {operator} ({', '.join(map(self.bind, values))}))"
            return f"({column} {operator} (SELECT unnest({self.bind(list(values))}::{sql_type}[])))"
        if operator in (Operator.BETWEEN, Operator.NOT_BETWEEN):
            low, high = map(self.bind, values)
            if operator is Operator.BETWEEN:
                return f"({column} >= {low} AND {column} <= {high})"
            return f"({column} < {low} OR {column} > {high})"
        if operator in _LIKES:
            return f"({column} {_LIKES[operator]} {self.bind(values[0])})"
        assert operator in ORDERINGS or operator in (Operator.EQUAL, Operator.UNEQUAL)
        return f"({column} {'<>' if operator is Operator.UNEQUAL else operator} {self.bind(values[0])})"
