"""Reads the value of a condition as what the field is compared with: a number, a time, a text, a boolean."""

from __future__ import annotations

from typing import Final

from localtrack.query.expression import Field, Kind, Value
from localtrack.query.literals import parse_date_ms, parse_duration_ms, parse_number
from localtrack.query.reader import TokenReader
from localtrack.query.tokens import Token, TokenKind

_BOOLEANS: Final = {"TRUE": True, "FALSE": False}


def read_value(reader: TokenReader, field: Field, *, now_ms: int) -> Value:
    """Take one value.

    Args:
        reader: Where the value comes next.
        field: What it is to be compared with.
        now_ms: What `now()` stands for, milliseconds since 1970.

    Raises:
        InvalidInputError: What comes next is no value, or none that the field can be compared with.
    """
    place = reader.peek()
    if (text := _text(reader)) is not None:
        return _from_text(reader, field, text, place)
    if field.kind is Kind.TIME and reader.take_word("NOW"):
        return _now(reader, now_ms)
    if field.kind is Kind.LOOSE and (word := reader.take_word(*_BOOLEANS)):
        return _BOOLEANS[word.text.upper()]
    sign = reader.take_symbol("-", "+")
    if reader.peek().kind is not TokenKind.WORD or (sign and reader.peek().start != sign.end):
        raise reader.error(_expected(field), place)
    word = reader.take()
    number = parse_number(word.text)
    if number is None and field.kind is Kind.DURATION:
        number = parse_duration_ms(word.text)
    if number is None or field.kind is Kind.TEXT:
        hint = ""
        if word.text.lower() == "nan":
            hint = "NaN equals nothing, not even itself."
        raise reader.error(_expected(field), word, hint=hint)
    if field.kind is Kind.ID:
        if sign or not isinstance(number, int):
            raise reader.error(_expected(field), word)
        return word.text
    number = -number if sign and sign.text == "-" else number
    return float(number) if field.kind in (Kind.NUMBER, Kind.LOOSE) else number


def _text(reader: TokenReader) -> str | None:
    """Take a text in single or double quotes, if one comes next."""
    token = reader.peek()
    is_text = token.kind is TokenKind.STRING or (token.kind is TokenKind.QUOTED and token.quote == '"')
    return reader.take().text if is_text else None


def _from_text(reader: TokenReader, field: Field, text: str, place: Token) -> Value:
    if field.kind is Kind.TIME:
        moment_ms = parse_date_ms(text)
        if moment_ms is None:
            raise reader.error(_expected(field), place)
        return moment_ms
    if field.kind in (Kind.NUMBER, Kind.DURATION):
        raise reader.error(_expected(field), place, hint="Leave the quotes out.")
    return text


def _now(reader: TokenReader, now_ms: int) -> float:
    reader.expect_symbol("(")
    reader.expect_symbol(")")
    moment_ms: float = now_ms
    while sign := reader.take_symbol("-", "+"):
        duration_ms = parse_duration_ms(reader.peek().text) if reader.peek().kind is TokenKind.WORD else None
        if duration_ms is None:
            raise reader.error("a duration such as 30s, 15m, 6h, 2d or 1w")
        reader.take()
        moment_ms += -duration_ms if sign.text == "-" else duration_ms
    return moment_ms


def _expected(field: Field) -> str:
    return {
        Kind.NUMBER: "a number",
        Kind.TIME: "milliseconds since 1970, a date such as '2026-01-31', or now() - 2d",
        Kind.DURATION: "milliseconds, or a duration such as 90s or 1h30m",
        Kind.TEXT: "a text in quotes",
        Kind.ID: "an id in quotes",
        Kind.LOOSE: "a text in quotes, a number, true or false",
    }[field.kind]
