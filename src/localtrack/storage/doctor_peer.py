"""The second process of `storage.doctor`: does what it is asked for, a JSON document a line each way."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Final

from localtrack.errors import LocaltrackError
from localtrack.storage.base import Storage
from localtrack.storage.opening import open_storage

LINE: Final = b'["localtrack doctor",0]\n'
WATCH_PATIENCE_S: Final = 30.0


def appended(count: int) -> str:
    """Return what is in a log after so many appended lines."""
    return (LINE * count).decode()


def replaced(number: int) -> bytes:
    """Return the content of a file that is replaced for the nth time: whole, or told from any mixture."""
    return f"{number:08d}".encode() * (100 + 37 * (number % 50))


def is_whole(data: bytes) -> int | None:
    """Return which content of `replaced` this is; None if it is none."""
    try:
        number = int(data[:8])
    except ValueError:
        return None
    return number if data == replaced(number) else None


def serve(storage: Storage) -> None:
    """Answer questions until there are no more."""
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = {"answer": _answer(storage, question)}
        except (LocaltrackError, OSError) as error:
            answer = {"failed": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _answer(storage: Storage, question: dict[str, Any]) -> Any:
    match question["do"]:
        case "wait size":
            return _wait_size(storage, question["key"], question["size"], question["patience_s"])
        case "read":
            return storage.read(question["key"]).decode()
        case "names":
            return storage.names(question["key"])
        case "create":
            folder = question["folder"]
            return [n for n in range(question["count"]) if storage.write_new(f"{folder}/name{n}", b"peer")]
        case "watch replaced":
            return _watch_replaced(storage, question["key"], question["until"])
        case "try lock":
            return _try_lock(question["path"])
    raise LocaltrackError(f"{question['do']!r} is no question.")


def _wait_size(storage: Storage, key: str, size: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            if len(storage.read(key)) >= size:
                return True
        except FileNotFoundError:
            pass
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.001)


def _watch_replaced(storage: Storage, key: str, until: int) -> dict[str, int]:
    seen = {"reads": 0, "torn": 0, "missing": 0}
    deadline = time.monotonic() + WATCH_PATIENCE_S
    number: int | None = 0
    while number != until and time.monotonic() < deadline:
        try:
            number = is_whole(storage.read(key))
        except FileNotFoundError:
            seen["missing"] += 1
            continue
        seen["reads"] += 1
        seen["torn"] += number is None
    return seen


def _try_lock(path: str) -> str:
    import filelock

    try:
        with filelock.FileLock(path, timeout=0.1):
            return "taken"
    except filelock.Timeout:
        return "held"


if __name__ == "__main__":
    serve(open_storage(json.loads(sys.stdin.readline())["place"]))
