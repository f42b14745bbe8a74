"""Filters that MLflow understands, and the same with a token lost, doubled, swapped or changed, on both sides.

Where MLflow gives an answer, so do we, and the same one, page by page; except where it overlooks a word that is missing
or left over: that is an error here. Where MLflow gives an error, ours may be an answer: the language has more in it.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

_TOKEN = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|[\w.]+|[<>!=]+|\s+|.""", re.DOTALL)


def mutate(dice: random.Random, text: str) -> str:
    tokens = _TOKEN.findall(text)
    if not tokens:
        return text
    place = dice.randrange(len(tokens))
    match dice.randrange(6):
        case 0:
            del tokens[place]
        case 1:
            tokens.insert(place, tokens[place])
        case 2:
            other = dice.randrange(len(tokens))
            tokens[place], tokens[other] = tokens[other], tokens[place]
        case 3:
            tokens[place] = dice.choice(
                ["AND", "=", "'a'", "1", "metrics.acc", "name", "IN", "NOT", "(", ")", ",", "`"]
            )
        case 4:
            tokens[place] = tokens[place].swapcase()
        case _:
            tokens.insert(place, dice.choice([" ", "\n", "\t", "  "]))
    return "".join(tokens)


def overlooked(text: str) -> bool:
    """Tell whether MLflow answers although a word is missing, left over, or names nothing.

    A dangling AND, conditions without AND between them, two texts side by side (one, to Python), an empty key.
    """
    bare = [token for token in _TOKEN.findall(text) if not token.isspace()]
    words = [token.upper() for token in bare]
    if words and "AND" in (words[0], words[-1]):
        return True
    pairs = list(itertools.pairwise(words))
    is_value = re.compile(r"""['"`].*|\)|NULL|-?[\d.]+(E[+-]?\d+)?""", re.DOTALL)
    if any(a == b == "AND" or (is_value.fullmatch(a) and b not in ("AND", ")", ",", ".")) for a, b in pairs):
        return True
    return any(a.endswith(".") and (b in ("``", '""', "''") or b[0] not in "`'\"") for a, b in pairs)


def pages(search: Callable[[object], object]) -> Iterator[Any]:
    token: object = None
    for _ in range(100):
        answer = search(token)
        yield answer if answer == "error" else answer[0]  # type: ignore[index]
        token = None if answer == "error" else answer[1]  # type: ignore[index]
        if token is None:
            return


def hold_against(both: Any, text: str, order: list[str], view: int, page: int) -> bool:
    """Compare page by page, and return whether MLflow gave an answer."""
    try:
        theirs = list(pages(lambda token: both.theirs(text, order, view, page=page, token=token)))
    except (IndexError, ValueError, AttributeError, TypeError, AssertionError, KeyError):  # of MLflow's parser
        theirs = ["error"]
    ours = list(pages(lambda token: both.ours(text, order, view, page=page, token=token)))
    if "error" in theirs:
        return False
    if ours == ["error"]:
        assert overlooked(text), (text, theirs)
    else:
        assert ours == theirs, (text, order, view, page)
    return True
