"""Filter text -> expression, and order keys.

    filter     = [ or ]                              the empty filter holds for every row
    or         = and { OR and }
    and        = not { AND not }
    not        = NOT not | "(" or ")" | condition
    condition  = field comparator value
               | field [NOT] LIKE text | field [NOT] ILIKE text
               | field [NOT] IN "(" value { "," value } [","] ")"
               | field [NOT] BETWEEN value AND value
               | field IS [NOT] NULL
    field      = entity "." key | attribute | (MIN | MAX | LATEST) "(" metric ")"
    comparator = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">="
    value      = text | [sign] number | TRUE | FALSE | time
    time       = NOW "(" ")" { sign duration } | text that is an ISO date | number of milliseconds
    order      = field [ASC | DESC]

Words are known by their position, in any case. Bounds: nesting 64, conditions 500, and what `tokens` allows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Final

from localtrack.errors import ErrorCode, InvalidInputError
from localtrack.query.expression import (
    ORDERINGS,
    PATTERNS,
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
from localtrack.query.fields import METRIC_RELATIONS, Scope
from localtrack.query.literals import parse_number
from localtrack.query.reader import TokenReader
from localtrack.query.tokens import Token, TokenKind, complaint
from localtrack.query.values import read_value

MAX_DEPTH: Final = 64
MAX_CONDITIONS: Final = 500

_COMPARATORS: Final = {
    "=": Operator.EQUAL,
    "==": Operator.EQUAL,
    "!=": Operator.UNEQUAL,
    "<>": Operator.UNEQUAL,
    "<": Operator.LESS,
    "<=": Operator.AT_MOST,
    ">": Operator.GREATER,
    ">=": Operator.AT_LEAST,
}
_OPERATORS: Final = "=, !=, <, <=, >, >=, LIKE, ILIKE, IN, BETWEEN, IS NULL or IS NOT NULL"
_PLAIN_KEY: Final = re.compile(r"\w[\w.]*")


def parse_filter(text: str | None, scope: Scope, *, now_ms: int | None = None) -> Expression | None:
    """Return what a filter means, or None for the empty one, which holds for every row.

    Args:
        text: The filter.
        scope: Which fields there are.
        now_ms: What `now()` stands for, milliseconds since 1970; the present by default.

    Raises:
        InvalidInputError: The text is no filter. The message shows the place and what was expected there.
    """
    if not text:
        return None  # before the tokenizer is imported, which takes longer than such a search
    return Parser(text, scope, now_ms=now_ms).filter()


def parse_order_by(clauses: Iterable[str] | None, scope: Scope) -> tuple[OrderKey, ...]:
    """Return the keys of an ordering.

    Args:
        clauses: One text for each key, such as `metrics.loss ASC`.
        scope: Which fields there are.

    Raises:
        InvalidInputError: A text is no order key, or names a field that was named before.
    """
    keys: list[OrderKey] = []
    if not isinstance(clauses, Iterable | None):
        raise InvalidInputError(
            f"Order keys are a list of texts, not {str(clauses)[:40]!r}.", code=ErrorCode.INVALID_FILTER
        )
    for clause in [clauses] if isinstance(clauses, str) else clauses or ():
        key = Parser(clause, scope, what="order key").order_key()
        if any(earlier.field == key.field for earlier in keys):
            raise complaint(
                clause, 0, len(clause), "a field that orders already", expected="each field once", what="order key"
            )
        keys.append(key)
    return tuple(keys)


class Parser(TokenReader):
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str, scope: Scope, *, now_ms: int | None = None, what: str = "filter") -> None:
        super().__init__(text, what=what)
        self._now_ms = int(time.time() * 1000) if now_ms is None else now_ms
        self._scope = scope
        self._depth = 0
        self._conditions_count = 0

    def filter(self) -> Expression | None:
        """Return the expression that the whole text is; None if it is white space."""
        if self.peek().kind is TokenKind.END:
            return None
        expression = self._or()
        if self.peek().kind is not TokenKind.END:
            raise self.error("AND, OR or the end")
        return expression

    def order_key(self) -> OrderKey:
        """Return the order key that the whole text is."""
        first = self.peek()
        field = self._field(for_order=True)
        if field.relation == "datasets":
            raise self.error("a field of the run itself: data sets are several", first)
        direction = self.take_word("ASC", "DESC")
        if self.peek().kind is not TokenKind.END:
            raise self._after_field("ASC, DESC or the end")
        return OrderKey(field, is_ascending=direction is None or direction.text.upper() == "ASC")

    def _or(self) -> Expression:
        parts = [self._and()]
        while self.take_word("OR"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _and(self) -> Expression:
        parts = [self._not()]
        while self.take_word("AND"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _not(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.error(f"at most {MAX_DEPTH} levels of NOT and parentheses")
        try:
            if self.take_word("NOT"):
                return Not(self._not())
            if self.take_symbol("("):
                inner = self._or()
                self.expect_symbol(")")
                return inner
            return self._condition()
        finally:
            self._depth -= 1

    def _condition(self) -> Condition:
        self._conditions_count += 1
        if self._conditions_count > MAX_CONDITIONS:
            raise self.error(f"at most {MAX_CONDITIONS} conditions", hint="Use IN for a list of values.")
        field = self._field()
        place = self.peek()
        if symbol := self.take_symbol(*_COMPARATORS):
            return self._checked(Condition(field, _COMPARATORS[symbol.text], (self._value(field),)), place)
        if self.take_word("IS"):
            operator = Operator.IS_NOT_NULL if self.take_word("NOT") else Operator.IS_NULL
            if not self.take_word("NULL"):
                raise self.error("NULL")
            return self._checked(Condition(field, operator), place)
        negation = self.take_word("NOT")
        word = self.take_word("LIKE", "ILIKE", "IN", "BETWEEN")
        if word is None:
            raise self.error("LIKE, ILIKE, IN or BETWEEN") if negation else self._after_field(_OPERATORS)
        operator = Operator(f"NOT {word.text.upper()}" if negation else word.text.upper())
        return self._checked(Condition(field, operator, self._values(field, operator)), place)

    def _values(self, field: Field, operator: Operator) -> tuple[Value, ...]:
        if operator in PATTERNS:
            if field.kind not in (Kind.TEXT, Kind.ID, Kind.LOOSE):
                raise self.error(f"no pattern: the field is {field.kind.value}", self.last())
            return (self._value(field._replace(kind=Kind.TEXT)),)
        if operator in (Operator.BETWEEN, Operator.NOT_BETWEEN):
            low = self._value(field)
            if not self.take_word("AND"):
                raise self.error("AND and the upper end of BETWEEN")
            return low, self._same_type(self._value(field), low)
        self.expect_symbol("(")
        values = [self._value(field)]
        while self.take_symbol(","):
            if self.take_symbol(")"):
                return tuple(values)
            values.append(self._same_type(self._value(field), values[0]))
        if not self.take_symbol(")"):
            raise self.error("',' or ')'")
        return tuple(values)

    def _value(self, field: Field) -> Value:
        return read_value(self, field, now_ms=self._now_ms)

    def _same_type(self, value: Value, first: Value) -> Value:
        if _family(value) != _family(first):
            raise self.error(f"another {_family(first)}, as the first value is", self.last())
        return value

    def _checked(self, condition: Condition, place: Token) -> Condition:
        """Return the condition, or raise if the operator has no meaning for the field."""
        field, operator = condition.field, condition.operator
        is_null_test = operator in (Operator.IS_NULL, Operator.IS_NOT_NULL)
        if is_null_test and field.relation == "datasets":
            raise self.error("a comparison: a run has any number of data sets, so that NULL has no meaning", place)
        if operator in ORDERINGS or operator in (Operator.BETWEEN, Operator.NOT_BETWEEN):
            if field.kind is Kind.ID:
                raise self.error("=, !=, LIKE, ILIKE or IN: ids have no order", place)
            if isinstance(condition.values[0], bool):
                raise self.error("= or !=: true and false have no order", place)
            is_number = [isinstance(v, str) and parse_number(v.lstrip("+-")) is not None for v in condition.values]
            if field.kind is Kind.LOOSE and any(is_number):
                value = self.last()
                raise self.error("a number without quotes: as texts, '10' comes before '9'", value)
        return condition

    def _field(self, *, for_order: bool = False) -> Field:
        """Take a field, or a function over a metric."""
        if function := self.take_call(*map(str.upper, self._scope.functions)):
            inner = self._named(for_order=for_order)
            if inner.relation != "metrics":
                raise self.error(f"a metric inside {function.text.upper()}()", self.last())
            self.expect_symbol(")")
            return inner._replace(column=self._scope.functions[function.text.lower()])
        return self._named(for_order=for_order)

    def _named(self, *, for_order: bool) -> Field:
        """Take a field by its name."""
        if self.peek().kind not in (TokenKind.WORD, TokenKind.QUOTED):
            raise self.error("a field such as metrics.loss, params.lr, tags.team or status")
        token = self.take()
        entity, dot, key = token.text.partition(".") if token.kind is TokenKind.WORD else (token.text, "", "")
        is_quoted_key = False
        if token.kind is TokenKind.QUOTED and self.is_touching(token) and (rest := self.take_dotted()):
            dot, key, token = ".", rest.text[1:], rest
        # Single quotes too, as MLflow reads them there.
        if dot and not key and self.peek().kind in (TokenKind.QUOTED, TokenKind.STRING) and self.is_touching(token):
            key, is_quoted_key, token = self.peek().text, True, self.take()
        if not dot:
            return self._attribute(entity, token, for_order)
        relation = self._scope.entities.get(entity.lower())
        if relation is None:
            names = ", ".join(sorted(self._scope.entities))
            raise self.error(f"one of {names} before the dot", token)
        if relation == self._scope.relation:
            return self._attribute(key, token, for_order)
        if relation == "datasets":
            if found := self._scope.datasets.get(key):
                return found
            raise self.error(f"one of {', '.join(self._scope.datasets)} after the dot", token)
        if not key or not (is_quoted_key or _PLAIN_KEY.fullmatch(key)):
            raise self.error("a key of letters, digits, underscores and dots, or a key in `backticks`", token)
        return Field(relation, "value", Kind.NUMBER if relation in METRIC_RELATIONS else Kind.LOOSE, key)

    def _attribute(self, name: str, token: Token, for_order: bool) -> Field:
        if found := self._scope.attribute(name, for_order=for_order):
            return found
        names = ", ".join(sorted(self._scope.attributes))
        relations = dict.fromkeys(self._scope.entities.values())
        kinds = " or ".join(f"{relation}.<key>" for relation in relations if relation != self._scope.relation)
        raise self.error(f"one of {names}", token, hint=f"Other fields are written {kinds}.")

    def _after_field(self, expected: str) -> InvalidInputError:
        is_key_cut = self.is_touching(self.last()) and self.peek().kind is TokenKind.SYMBOL
        hint = "Put a key that holds other signs than letters, digits, _ and . in `backticks`." if is_key_cut else ""
        return self.error(expected, hint=hint)


def _family(value: Value) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"
