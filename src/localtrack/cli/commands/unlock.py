"""`localtrack unlock`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from localtrack.cli.output import write_json_lines, write_lines
from localtrack.cli.session import Session, general_options, pass_session
from localtrack.cli.text import printable

if TYPE_CHECKING:
    from localtrack.storage.locks import HeldLock


@click.command
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@general_options
@pass_session
def unlock(session: Session, names: tuple[str, ...], yes: bool) -> None:
    """Show who holds maintenance locks, and remove dead ones.

    Logging needs no lock; merging, compacting and removing for good do. A lock whose owner is alive is never removed
    here, and none for its age: of each other one it is said whose it is, and asked.
    """
    from localtrack.errors import InvalidInputError
    from localtrack.storage.locks import break_lock, list_locks

    with session.open_store() as store:
        held = list_locks(store.storage)
        unknown = set(names) - {lock.name for lock in held}
        if unknown:
            raise InvalidInputError(f"Nobody holds a lock named {', '.join(sorted(unknown))}.")
        answers = []
        for lock in held:
            is_wanted = not names or lock.name in names
            is_removed = False
            if not session.is_json:
                write_lines([_sentence(lock)])
            if is_wanted and lock.state != "alive" and (yes or _is_agreed(session, lock)):
                is_removed = break_lock(store.storage, lock)
                if not session.is_json:
                    write_lines([f"Removed the lock {lock.name}." if is_removed else "It changed hands meanwhile."])
            answers.append(_document(lock, is_removed))
    if session.is_json:
        write_json_lines(answers)
    elif not held:
        write_lines(["Nobody holds a lock."])


def _is_agreed(session: Session, lock: HeldLock) -> bool:
    if session.is_json:  # a program that reads the answer cannot be asked
        return False
    return click.confirm(f"Remove the lock {printable(lock.name)}?", default=False, err=True)


def _sentence(lock: HeldLock) -> str:
    name, owner = printable(lock.name), lock.owner
    who = printable(owner.describe()) if owner is not None else "somebody who has not said who it is"
    if not lock.is_file:
        return f"{name}: held by {who}. It goes when that process ends."
    what = {
        "alive": "That process runs: wait for it, or end it.",
        "dead": "That process is gone: removing the lock is safe.",
        "unknown": "From here nobody can tell whether it still runs: look there first.",
    }[lock.state]
    return f"{name}: held by {who}. {what}"


def _document(lock: HeldLock, is_removed: bool) -> dict[str, object]:
    process = lock.owner.process if lock.owner is not None else None
    return {
        "name": lock.name,
        "host": process.host if process is not None else None,
        "pid": process.pid if process is not None else None,
        "boot": process.boot if process is not None else None,
        "since_ms": lock.owner.since_ms if lock.owner is not None else None,
        "state": lock.state,
        "removed": is_removed,
    }
