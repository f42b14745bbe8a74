"""Numbers as users give them."""

from __future__ import annotations

import decimal
import fractions
import math
from typing import Any

import numpy as np
import pytest

from localtrack.errors import InvalidInputError
from localtrack.format.scalars import to_step, to_timestamp_ms, to_value


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (0.1, 0.1),
        (1, 1.0),
        (True, 1.0),
        ("1.5", 1.5),
        (-math.inf, -math.inf),
        (decimal.Decimal("0.25"), 0.25),
        (fractions.Fraction(1, 4), 0.25),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float64(0.1), 0.1),
        (np.int64(7), 7.0),
        (np.bool_(True), 1.0),
        (np.array(2.5), 2.5),
        (np.array([2.5]), 2.5),
    ],
)
def test_a_value_is_a_float(given: Any, value: float) -> None:
    found = to_value(given, "loss")
    assert type(found) is float
    assert found == value


def test_nan_is_a_value() -> None:
    assert math.isnan(to_value(np.float32("nan"), "loss"))


class _Unshowable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "given", [None, "high", [1.0], {}, 10**400, np.array([1.0, 2.0]), 1j, _Unshowable(), "x" * 500]
)
def test_what_is_no_number_is_refused_in_one_short_sentence(given: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^The value of metric 'loss' must be one number, not ") as caught:
        to_value(given, "loss")
    assert len(caught.value.args[0]) < 150


@pytest.mark.parametrize(
    ("given", "step"),
    [(None, 0), (7, 7), (-7, -7), (3.0, 3), (np.int32(5), 5), (True, 1), (2**63 - 1, 2**63 - 1), (-(2**63), -(2**63))],
)
def test_a_step_is_an_integer(given: Any, step: int) -> None:
    found = to_step(given)
    assert type(found) is int
    assert found == step


@pytest.mark.parametrize("given", [0.5, math.nan, math.inf, "one", [], 2**63, -(2**63) - 1, 1e300, np.array([1, 2])])
def test_what_is_no_integer_of_64_bits_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="A step must"):
        to_step(given)


def test_a_time_is_not_negative() -> None:
    assert to_timestamp_ms(0) == 0
    assert to_timestamp_ms(1.7e12) == 1_700_000_000_000
    for given in (-1, -0.5, None, 2**63):
        with pytest.raises(InvalidInputError, match="timestamp"):
            to_timestamp_ms(given)
