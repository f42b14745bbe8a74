"""Goes through the tokens of one text, one by one, and says where something else was expected."""

from __future__ import annotations

from localtrack.errors import InvalidInputError
from localtrack.query.tokens import Token, TokenKind, complaint, tokenize


class TokenReader:
    """A place in the tokens of a text.

    Args:
        text: Filter or order key.
        what: What to call the text in an error.
    """

    def __init__(self, text: str, *, what: str) -> None:
        self._text = text
        self._what = what
        self._tokens = tokenize(text, what=what)
        self._place = 0

    def peek(self) -> Token:
        """Return the token that comes next, and stay before it."""
        return self._tokens[self._place]

    def take(self) -> Token:
        """Return the next token and go past it; END stays."""
        token = self.peek()
        if token.kind is not TokenKind.END:
            self._place += 1
        return token

    def take_symbol(self, *symbols: str) -> Token | None:
        """Go past one of these symbols if it comes next."""
        return self.take() if self.peek().kind is TokenKind.SYMBOL and self.peek().text in symbols else None

    def take_word(self, *words: str) -> Token | None:
        """Go past one of these words, in any case, if it comes next."""
        return self.take() if self.peek().kind is TokenKind.WORD and self.peek().text.upper() in words else None

    def take_call(self, *words: str) -> Token | None:
        """Go past one of these words and a parenthesis if both come next."""
        word = self.take_word(*words)
        if word is None or self.take_symbol("("):
            return word
        self._place -= 1
        return None

    def take_dotted(self) -> Token | None:
        """Go past a word that begins with a dot if one comes next."""
        token = self.peek()
        return self.take() if token.kind is TokenKind.WORD and token.text.startswith(".") else None

    def error(self, expected: str, token: Token | None = None, *, hint: str = "") -> InvalidInputError:
        """Return an error that points at a token, by default the next one."""
        token = token or self.peek()
        shown = self._text[token.start : token.start + 40]
        found = (
            f"the end of the {self._what}" if token.kind is TokenKind.END else repr(shown[: token.end - token.start])
        )
        return complaint(self._text, token.start, token.end, found, expected=expected, hint=hint, what=self._what)

    def expect_symbol(self, symbol: str) -> Token:
        """Go past this symbol, or raise."""
        if token := self.take_symbol(symbol):
            return token
        raise self.error(repr(symbol))

    def last(self) -> Token:
        """Return the token that was taken last."""
        return self._tokens[self._place - 1]

    def is_touching(self, token: Token) -> bool:
        """Return whether the next token follows this one without a space."""
        return self.peek().start == token.end
