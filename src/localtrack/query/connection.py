"""DuckDB, in memory, shut in: no files, no network, no extensions, settings locked.

Opening it takes 15 to 30 ms, a cursor 0.1 ms, so one database serves the whole process and each search gets a cursor of
its own, with its own tables; cursors may be used in any number of threads at once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import duckdb

_SETTINGS: Final[dict[str, str | bool | int | float | list[str]]] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "threads": 2,
    "temp_directory": "",  # else it may write below the current folder, and read there whatever else is forbidden
    "python_enable_replacements": False,
    "lock_configuration": True,
}

# By process: what a forked child finds of the parent's database has lost its threads, and may hold a lock that another
# thread of the parent had at that moment and that nobody will release. The child leaves it alone, unclosed.
_databases: dict[int, duckdb.DuckDBPyConnection] = {}


@contextlib.contextmanager
def cursor() -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a connection of one's own for one search.

    Concurrency: safe from any thread, and in a forked child.
    """
    import duckdb

    database = _databases.get(os.getpid())
    if database is None:
        # Two threads may both get here; one database is kept, the other closes itself.
        database = _databases.setdefault(os.getpid(), duckdb.connect(":memory:", config=_SETTINGS))
    connection = database.cursor()
    try:
        yield connection
    finally:
        connection.close()


def open_fenced(folder: str) -> duckdb.DuckDBPyConnection:
    """Return a connection to a database of its own that can read the files in one folder; whoever asks closes it.

    Args:
        folder: An absolute path.
    """
    import duckdb

    later = ("enable_external_access", "lock_configuration")
    connection = duckdb.connect(":memory:", config={k: v for k, v in _SETTINGS.items() if k not in later})
    quoted = folder.replace("'", "''")  # SET takes no parameters
    connection.execute(f"SET allowed_directories = ['{quoted}']")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def open_sealed() -> duckdb.DuckDBPyConnection:
    """Return a connection to a database of its own, for text that a user wrote; whoever asks closes it.

    No search has its tables there, and what goes wrong in it takes no other one along. Opening takes about 15 ms.
    """
    import duckdb

    settings = {name: value for name, value in _SETTINGS.items() if name != "lock_configuration"}
    connection = duckdb.connect(":memory:", config=settings)
    connection.execute("SET TimeZone = 'UTC'")  # a setting of an extension: not known before there is a database
    connection.execute("SET lock_configuration = true")
    return connection
