"""Asks a place that may not answer, as a hard mount whose server is gone, without waiting for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from localtrack.errors import StorageError

T = TypeVar("T")


def ask(call: Callable[[], T], *, patience_s: float, what: str) -> T:
    """Return what `call` returns, or raise what it raises.

    Args:
        call: Asks; it may go on in a thread of its own after the patience has ended, and must do no harm then.
        patience_s: How long to wait.
        what: What is asked, as the start of a sentence.

    Raises:
        StorageError: There was no answer in time.
    """
    answer: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(call())
        except BaseException as error:  # handed to the caller, whatever it is
            failure.append(error)

    # Not one of a pool: a pool's threads are waited for when the interpreter ends.
    thread = threading.Thread(target=run, name="localtrack-ask", daemon=True)
    thread.start()
    thread.join(patience_s)
    if failure:
        raise failure[0]
    if not answer:
        raise StorageError(f"{what} failed: no answer in {patience_s:.0f} s.")
    return answer[0]
