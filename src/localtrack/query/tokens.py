"""Filter text -> tokens with places, and errors that point at a place.

The tokenizer is sqlglot's, stripped to quotes, numbers and single characters; its parser is not used. The parser knows
SQL, not this language: it takes `metrics.a.b` for a schema and `metrics.order` for a clause, loses the places that an
error should point at, and recurses without a bound. Here every word is an identifier until its position makes it an
operator, so that any key may be called `in`, `and` or `min`.

Importing sqlglot takes longer than a search of a million runs. A text without escapes, comments and rare signs is
therefore cut by one regular expression, which knows no more than that; the tests hold it against sqlglot.
"""

from __future__ import annotations

import enum
import functools
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from localtrack.errors import ErrorCode, InvalidInputError

if TYPE_CHECKING:
    from sqlglot import Tokenizer

MAX_FILTER_CHARS: Final = 1_000_000
"""About 28,000 run ids in one IN."""

_SINGLES: Final = "()[]{},.;:+-*/%=<>!'\"`&|^~?@#$\\"
_PAIRS: Final = frozenset({"<=", ">=", "!=", "==", "<>"})
_CONTEXT_CHARS: Final = 60
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_PLAIN: Final = re.compile(
    r"""
    (?P<space>  [ \t\n]+ )
  | (?P<word>   [A-Za-z0-9_.]++ (?! [+-] ) )   # a sign after it may belong to an exponent
  | (?P<quoted> (?<! [A-Za-z0-9_] ) (?P<quote> ['"`] ) (?P<text> [^'"`\\{}]* ) (?P=quote) (?! ['"`] ) )
  | (?P<symbol> [<>=!]= | <> | [<>=(),] | [+-] (?! [+-] ) )
    """,
    re.VERBOSE,
)


class TokenKind(enum.Enum):
    """What a token is by its form alone."""

    WORD = "word"
    """Letters, digits, underscores and dots without a break: `metrics.acc`, `1.5e-3`, `2d`, `AND`."""
    STRING = "string"
    """In single quotes: a value."""
    QUOTED = "quoted"
    """In double quotes or backticks: a key, and in double quotes also a value."""
    SYMBOL = "symbol"
    END = "end"


class Token(NamedTuple):
    """One token; `text` is without quotes, `start` and `end` are places in the filter, with them."""

    kind: TokenKind
    text: str
    start: int
    end: int
    quote: str = ""
    """The quote that it stands in, if any."""


@functools.cache
def _tokenizer_class() -> type[Tokenizer]:
    from sqlglot import Tokenizer, TokenType

    class FilterTokenizer(Tokenizer):
        SINGLE_TOKENS = dict.fromkeys(_SINGLES, TokenType.UNKNOWN)
        KEYWORDS = {}  # noqa: RUF012
        COMMENTS = []  # noqa: RUF012
        IDENTIFIERS = ['"', "`"]  # noqa: RUF012
        QUOTES = ["'"]  # noqa: RUF012

    return FilterTokenizer


def tokenize(text: str, *, what: str = "filter") -> list[Token]:
    """Cut a filter into tokens; the last one is always END.

    Args:
        text: Filter or order key.
        what: What to call the text in an error.

    Raises:
        InvalidInputError: The text is too long, holds what no key or value can hold, or a quote is not closed.
    """
    if not isinstance(text, str):
        raise InvalidInputError(
            f"A{'n' if what[0] in 'aeiou' else ''} {what} is a text, not {type(text).__name__}.",
            code=ErrorCode.INVALID_FILTER,
        )
    if len(text) > MAX_FILTER_CHARS:
        raise InvalidInputError(
            f"The {what} has {len(text)} characters; at most {MAX_FILTER_CHARS} are read.",
            code=ErrorCode.INVALID_FILTER,
        )
    if half := _SURROGATE.search(text):
        raise complaint(
            text, half.start(), half.end(), "half a character", expected="text that UTF-8 can write", what=what
        )
    if open_quote := _unclosed_quote(text):
        raise complaint(text, open_quote[0], open_quote[0] + 1, open_quote[1], expected="a closing quote", what=what)
    return _merge(text, _scan(text), what)


def complaint(
    text: str, start: int, end: int, found: str, *, expected: str, hint: str = "", what: str = "filter"
) -> InvalidInputError:
    """Return an error that shows the text, points at a place in it and says what was expected there."""
    from_char = max(0, start - _CONTEXT_CHARS)
    to_char = min(len(text), start + _CONTEXT_CHARS)
    before, after = "…" if from_char else "", "…" if to_char < len(text) else ""
    # One visible character for each, or the caret would point elsewhere.
    shown = "".join(c if c.isprintable() else "·" for c in text[from_char:to_char])
    carets = "^" * max(1, min(end, to_char) - start)
    message = (
        f"The {what} cannot be read: found {found} at character {start + 1}.\n"
        f"  {before}{shown}{after}\n"
        f"  {' ' * (len(before) + start - from_char)}{carets} expected {expected}."
    )
    return InvalidInputError(message, code=ErrorCode.INVALID_FILTER, hint=hint)


def _unclosed_quote(text: str) -> tuple[int, str] | None:
    # sqlglot says that a quote is open but not where it began. A doubled quote closes and opens again: no matter here.
    place = 0
    while match := re.compile("['\"`]").search(text, place):
        closing = text.find(match.group(), match.end())
        if closing < 0:
            return match.start(), f"a {match.group()} that nothing closes"
        place = closing + 1
    return None


def _scan(text: str) -> list[Token]:
    return _scan_plain(text) or _scan_any(text)


def _scan_plain(text: str) -> list[Token] | None:
    """Return the tokens that `_scan_any` and `_merge` would give; None if the text is not of the plain kind."""
    tokens: list[Token] = []
    place = 0
    while place < len(text):
        match = _PLAIN.match(text, place)
        if match is None:
            return None
        start, place = match.span()
        if match.lastgroup == "quoted":
            kind = TokenKind.STRING if match["quote"] == "'" else TokenKind.QUOTED
            tokens.append(Token(kind, match["text"], start, place, match["quote"]))
        elif match.lastgroup != "space":
            kind = TokenKind.WORD if match.lastgroup == "word" else TokenKind.SYMBOL
            tokens.append(Token(kind, match[0], start, place))
    return tokens


def _scan_any(text: str) -> list[Token]:
    """Run sqlglot's tokenizer and name its tokens in our words."""
    from sqlglot import TokenType
    from sqlglot.errors import TokenError

    kinds = {TokenType.STRING: TokenKind.STRING, TokenType.IDENTIFIER: TokenKind.QUOTED}
    try:
        raw = _tokenizer_class()().tokenize(text)
    except TokenError as error:
        raise complaint(
            text, 0, 1, "text that is no filter", expected="conditions such as metrics.loss < 0.1"
        ) from error
    tokens = []
    for token in raw:
        start, end = token.start, token.end + 1
        if token.token_type in kinds:
            tokens.append(Token(kinds[token.token_type], token.text, start, end, text[start]))
        elif token.token_type in (TokenType.VAR, TokenType.NUMBER) or token.text == ".":
            tokens.append(Token(TokenKind.WORD, text[start:end], start, end))
        elif token.token_type is TokenType.UNKNOWN:
            tokens.append(Token(TokenKind.SYMBOL, text[start:end], start, end))
        else:  # such as N'text', which sqlglot knows by itself
            raise complaint(text, start, end, f"{text[start:end]!r}", expected="a plain quote")
    return tokens


def _merge(text: str, tokens: list[Token], what: str) -> list[Token]:
    """Join words and dots that touch, and two-character operators; check that nothing was skipped but white space."""
    merged: list[Token] = []
    place = 0
    for token in [*tokens, Token(TokenKind.END, "", len(text), len(text))]:
        gap = text[place : token.start]
        if gap.strip():  # sqlglot drops template comments {# … #} whatever its settings are
            raise complaint(text, place, token.start, "a comment", expected="a filter without comments", what=what)
        last = merged[-1] if merged and not gap else None
        both = token.kind, last and last.kind
        if last and both == (TokenKind.WORD, TokenKind.WORD):
            merged[-1] = Token(TokenKind.WORD, last.text + token.text, last.start, token.end)
        elif last and both == (TokenKind.SYMBOL, TokenKind.SYMBOL) and last.text + token.text in _PAIRS:
            merged[-1] = Token(TokenKind.SYMBOL, last.text + token.text, last.start, token.end)
        else:
            merged.append(token)
        place = token.end
    return merged
