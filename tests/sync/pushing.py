"""Pushes a store with little patience: to a URL, over a link without sockets, or in a process that is to be killed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localtrack import Store
from localtrack.sync.http import Patience
from localtrack.sync.ledger_file import LedgerFile
from localtrack.sync.options import PushOptions
from localtrack.sync.push import Push
from localtrack.sync.report import PushReport
from localtrack.sync.target import resolve_target
from tests.sync.link import TIMEOUT_S, Link
from tests.sync.stores import HASTE

LINKED = Patience(tries_count=5, timeout_s=TIMEOUT_S)
"""Where time goes on by itself nobody need hurry."""


def push(store: Store, url: str, **options: Any) -> PushReport:
    """Push everything, with little patience."""
    wanted = PushOptions(**{"patience": HASTE, "workers_count": 2, **options})
    return Push(store._site, store._catalog, resolve_target(url), wanted).run()


class LinkedPush(Push):
    """A push over a link, whose clock it goes by."""

    def __init__(self, store: Store, url: str, link: Link, options: PushOptions, place: str) -> None:
        target = resolve_target(url)
        connection = dataclasses.replace(target.connection, transport=link)
        target = dataclasses.replace(target, connection=connection)
        super().__init__(store._site, store._catalog, target, options)
        self._link = link
        self._copy = place

    def _place(self, ledger: LedgerFile) -> str:
        return self._copy

    def _sleep(self, seconds: float) -> None:
        self._link.sleep(seconds)


def push_over(
    link: Link, store: Store, url: str = "http://server.example", *, place: str = "here", **options: Any
) -> PushReport:
    """Push everything over a link; a server that is still busy has the time that a request may take before it.

    Args:
        link: To the server.
        store: What is pushed.
        url: Of the server.
        place: What tells one copy of a store from another.
        options: Of the push.
    """
    link.sleep(TIMEOUT_S)
    wanted = PushOptions(**{"patience": LINKED, "workers_count": 1, **options})
    return LinkedPush(store, url, link, wanted, place).run()


def push_in_child(path: Path, url: str, started: Callable[[], None] = lambda: None) -> None:
    """Push a store, one run at a time; for a process of its own."""
    with Store.open(path) as store:
        started()
        push(store, url, workers_count=1)
