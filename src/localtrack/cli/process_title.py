"""Takes a password out of the command line of this process, which every user of the machine can read."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from localtrack.cli.output import write_note

_ARG_START: Final = 45
"""Of the fields of `/proc/<pid>/stat` behind the name of the program. Source: proc_pid_stat(5), arg_start."""


def hide_password(uri: str) -> None:
    """Overwrite the password of a URI that was given as an argument, and say that it was seen until then."""
    password = urlsplit(uri).password
    if not password:
        return
    is_hidden = _overwrite(password.encode())
    write_note(
        f"Others on this machine {'could' if is_hidden else 'can'} see the password in the list of processes"
        f"{' until now' if is_hidden else ''}: MLFLOW_TRACKING_PASSWORD hides it."
    )


def _overwrite(secret: bytes) -> bool:
    """Replace a text in the arguments as the system shows them; return whether it is gone."""
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as stat:
            start = int(stat.read().rpartition(") ")[2].split()[_ARG_START])
        with open("/proc/self/cmdline", "rb") as shown, open("/proc/self/mem", "r+b", buffering=0) as memory:
            arguments = shown.read()
            offset = arguments.find(secret)
            while offset >= 0:
                memory.seek(start + offset)
                memory.write(b"x" * len(secret))
                offset = arguments.find(secret, offset + len(secret))
        with open("/proc/self/cmdline", "rb") as shown:
            return secret not in shown.read()
    except (OSError, ValueError, IndexError):  # no Linux, or not allowed: then it stays, and that is said
        return False
