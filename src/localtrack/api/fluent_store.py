"""Which store the fluent functions use."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from localtrack.api import environment
from localtrack.api.location import format_store_uri, is_store_folder, is_url, parse_store_uri, resolve_store_path
from localtrack.storage.credentials import with_password

if TYPE_CHECKING:
    from localtrack.api.store import Store

_lock = threading.Lock()
_stores: dict[str, Store] = {}
_chosen: str | None = None
"""What `set_tracking_uri` was given, as a path or URL."""
_found: str | None = None
"""What the first call without a setting came to. It is kept: a program that changes its folder keeps its store."""


def set_tracking_uri(uri: str | os.PathLike[str] | None) -> None:
    """Choose the store of the calls that follow; a run that is active stays where it is.

    Child processes use the same store.

    Args:
        uri: A folder; a `file:` or `localtrack:` URI, in which `%20` and the like are decoded; or an fsspec URL. Made
            where it is missing by the first call that needs it. An empty text or None: the environment decides again.

    Raises:
        InvalidInputError: It names a server or a database, or cannot be read.
    """
    global _chosen, _found
    chosen = parse_store_uri(uri) if uri else None
    environment.hand_down_store(None if chosen is None else with_password(format_store_uri(chosen)))
    _chosen, _found = chosen, None


def get_tracking_uri() -> str:
    """Return the URI of the store: `file:///…`, or an fsspec URL, without a password. It need not be there yet."""
    return format_store_uri(_active_path())


def is_tracking_uri_set() -> bool:
    """Tell whether `set_tracking_uri` or the environment names the store."""
    return _chosen is not None or environment.tracking_uri() is not None


def active_store() -> Store:
    """Return the store that the fluent functions use, opened, and made where it is missing."""
    path = _active_path()
    store = _stores.get(path)
    # Somebody may have removed the folder meanwhile, as one does in a notebook.
    if store is not None and (is_url(path) or is_store_folder(path)):
        return store
    from localtrack.api.store import Store

    with _lock:
        if _stores.get(path) is store:
            _stores[path] = Store.open(path)
        return _stores[path]


def flush() -> None:
    """Return when everything that this process has logged is on the disk.

    Raises:
        StorageError: It is not, and could not be written elsewhere.
    """
    active_store().flush()


def _active_path() -> str:
    global _found
    if _chosen is not None:
        return _chosen
    if environment.tracking_uri() is not None:
        return resolve_store_path()
    if _found is None:
        _found = resolve_store_path()
    return _found


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    # Another thread of the parent may hold it at the moment of the fork, and nobody would let go of the child's copy.
    os.register_at_fork(after_in_child=_renew_lock)
