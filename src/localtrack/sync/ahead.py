"""Makes the next item of an iteration while the caller is busy with one, so that a target need not wait for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

Item = TypeVar("Item")

_END: Final[Any] = object()


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items in their order; what making one raises is raised in its place.

    Concurrency: items are made in another thread, one at a time.
    """
    source = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="localtrack-ahead") as pool:
        made = pool.submit(next, source, _END)
        while (item := made.result()) is not _END:
            made = pool.submit(next, source, _END)
            yield item
