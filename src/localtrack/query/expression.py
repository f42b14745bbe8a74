"""What a filter means: a small typed tree, free of syntax and of SQL."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

Value: TypeAlias = str | int | float | bool


class Kind(enum.Enum):
    """What the values of a field are, and so what they can be compared with."""

    NUMBER = "a number"
    TIME = "a time"
    DURATION = "a duration"
    TEXT = "a text"
    ID = "an id"
    """Text without an order."""
    LOOSE = "a text, a number or a boolean"
    """Text in which people keep numbers and booleans: params and tags."""


class Operator(enum.StrEnum):
    """How a field is compared."""

    EQUAL = "="
    UNEQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    GREATER = ">"
    AT_LEAST = ">="
    LIKE = "LIKE"
    NOT_LIKE = "NOT LIKE"
    ILIKE = "ILIKE"
    NOT_ILIKE = "NOT ILIKE"
    IN = "IN"
    NOT_IN = "NOT IN"
    BETWEEN = "BETWEEN"
    NOT_BETWEEN = "NOT BETWEEN"
    IS_NULL = "IS NULL"
    IS_NOT_NULL = "IS NOT NULL"


ORDERINGS = frozenset({Operator.LESS, Operator.AT_MOST, Operator.GREATER, Operator.AT_LEAST})
PATTERNS = frozenset({Operator.LIKE, Operator.NOT_LIKE, Operator.ILIKE, Operator.NOT_ILIKE})


class Field(NamedTuple):
    """One thing that can be asked about: a column of the narrow relation, or a column of a tall one under a key."""

    relation: str
    column: str
    kind: Kind
    key: str = ""
    """The key in a tall relation; empty in the narrow one and in `datasets`."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison. A field that a row does not have fulfils none, except IS NULL."""

    field: Field
    operator: Operator
    values: tuple[Value, ...] = ()
    """All of one type: none for IS NULL, two for BETWEEN, one or more for IN, one otherwise."""


@dataclass(frozen=True, slots=True)
class Not:
    """Fulfilled by exactly the rows that do not fulfil the part: also by those that lack the field."""

    part: Expression


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds."""

    parts: tuple[Expression, ...]


Expression: TypeAlias = Condition | Not | And | Or


class OrderKey(NamedTuple):
    """One key of an ordering. Rows without the field come last in both directions."""

    field: Field
    is_ascending: bool = True
