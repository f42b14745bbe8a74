"""Columns of segments in memory: read on first use, the least used ones let go of at a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_LIMIT_BYTES: Final = 512 * 1024 * 1024

Key = tuple[str, ...]


class ColumnCache:
    """Arrow columns by segment and name, up to a number of bytes.

    Args:
        limit_bytes: So much is kept; a single search may need more at once, and gets it.

    Concurrency: thread-safe.
    """

    def __init__(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._columns: OrderedDict[Key, tuple[pa.Array[Any] | None, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key, read: Callable[[], pa.Array[Any] | None]) -> pa.Array[Any] | None:
        """Return a column, reading it where it is not there."""
        with self._lock:
            found = self._columns.get(key)
            if found is not None:
                self._columns.move_to_end(key)
                return found[0]
        column = read()
        size = column.nbytes if column is not None else 0
        with self._lock:
            old = self._columns.pop(key, (None, 0))
            self._columns[key] = column, size
            self.used_bytes += size - old[1]
            while self.used_bytes > self.limit_bytes and len(self._columns) > 1:
                _, (_, freed) = self._columns.popitem(last=False)
                self.used_bytes -= freed
        return column

    def keep_segments(self, names: set[str]) -> None:
        """Let go of the columns of segments that are not among these."""
        with self._lock:
            for key in [key for key in self._columns if key[0] not in names]:
                self.used_bytes -= self._columns.pop(key)[1]
