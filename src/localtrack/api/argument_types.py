"""Arguments of a wrong type, told in one sentence that names them.

Nothing is looked at before a call, and so nothing is slower for it: only when something else than an error of ours has
come out of a call, its arguments are held against the annotations of the function. If one of them is of a type that the
function does not take, that is why, and is what is raised; else the error goes on as it is.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any, Final, ParamSpec, TypeVar

from localtrack.errors import InvalidInputError, LocaltrackError

P = ParamSpec("P")
T = TypeVar("T")
AnyClass = TypeVar("AnyClass", bound=type)

_SHOWN_CHARS: Final = 60
_BRACKETS: Final = {"[": 1, "]": -1}


def explain_wrong_types(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function so that an argument of a wrong type is told."""

    @functools.wraps(function)
    def explained(*args: P.args, **named: P.kwargs) -> T:
        try:
            return function(*args, **named)
        except LocaltrackError:
            raise
        except Exception as error:  # whatever it was: it goes on, unless an argument tells why it came to that
            raise_if_wrong(function, error, *args, **named)
            raise

    return explained


def explain_wrong_types_of(*left_out: str) -> Callable[[AnyClass], AnyClass]:
    """Decorate all public methods of a class with `explain_wrong_types`.

    Args:
        left_out: Names of methods that are called so often that one more call around them is felt.
    """

    def decorate(decorated: AnyClass) -> AnyClass:
        for base in decorated.__mro__:
            for name, method in vars(base).items():
                is_public = type(method) is FunctionType and not name.startswith("_") and name not in left_out
                if is_public and getattr(decorated, name) is method:  # else another base has one of that name
                    setattr(decorated, name, explain_wrong_types(method))
        return decorated

    return decorate


def raise_if_wrong(function: Callable[..., Any], error: Exception, *args: Any, **named: Any) -> None:
    """Raise `InvalidInputError` if an argument of a call that failed is of a type that the function does not take.

    Args:
        function: What was called.
        error: What came out of it.
        args: What it was called with.
        named: The same, by name.
    """
    import inspect

    signature = inspect.signature(function)
    try:
        bound = signature.bind(*args, **named)
    except TypeError:
        return  # too many, or one is missing: Python says so
    for name, value in bound.arguments.items():
        parameter = signature.parameters[name]
        annotation = parameter.annotation
        if not isinstance(annotation, str) or parameter.kind is parameter.VAR_KEYWORD:
            continue
        for one in value if parameter.kind is parameter.VAR_POSITIONAL else [value]:
            if not fits(one, annotation):
                raise InvalidInputError(
                    f"{name}={_show(one)} is nothing that {function.__name__} takes.", hint=f"It takes {annotation}."
                ) from error


def fits(value: object, annotation: str) -> bool:
    """Return whether a value is of the type that an annotation names; where that cannot be told, True."""
    return any(_fits_one(value, part.strip()) for part in _split(annotation, "|"))


def _fits_one(value: object, annotation: str) -> bool:
    base, _, inside = annotation.partition("[")
    inside, base = inside.removesuffix("]"), base.rpartition(".")[2]
    match base:
        case "Any" | "object":
            return True
        case "None":
            return value is None
        case "str" | "bool" | "bytes":
            return type(value).__name__ == base or isinstance(value, {"str": str, "bool": bool, "bytes": bytes}[base])
        case "int" | "float":
            return hasattr(value, "__index__") or (base == "float" and hasattr(value, "__float__"))
        case "PathLike":
            return isinstance(value, os.PathLike)
        case "Callable":
            return callable(value)
        case "Mapping" | "dict":
            key, of_value = _split(inside, ",") if inside else ("Any", "Any")
            is_mapping = isinstance(value, Mapping)
            return is_mapping and all(fits(k, key) and fits(v, of_value) for k, v in value.items())  # type: ignore[attr-defined]
        case "Iterable" | "Iterator" | "Sequence" | "Collection" | "list" | "tuple" | "set":
            if not isinstance(value, Iterable) or isinstance(value, str | bytes):
                return False
            is_kept = isinstance(value, list | tuple | set | frozenset | Mapping)  # else a look would use it up
            return not is_kept or all(fits(one, inside or "Any") for one in value)
        case _:  # a class, by its name, or an alias: of texts, as all literals are, or of callables
            is_class = any(kind.__name__ == base for kind in type(value).__mro__)
            return is_class or isinstance(value, str) or callable(value)


def _split(text: str, separator: str) -> list[str]:
    """Split an annotation where a separator stands outside of all brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += _BRACKETS.get(letter, 0)
        if letter == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _show(value: object) -> str:
    try:
        shown = repr(value)
    except Exception as error:  # of a foreign class: the message is about its type
        shown = f"<{type(value).__name__}: {error!r}>"
    return shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}…"
