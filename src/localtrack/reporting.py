"""What the library says while it works: the one place that prints, through the standard logger `localtrack`.

`logging` is loaded when something is said, which in most programs is never.
"""

from __future__ import annotations

from typing import Final

LOGGER_NAME: Final = "localtrack"


def debug(message: str, *args: object) -> None:
    """Say something that only somebody who looks for a fault wants to know."""
    import logging

    logging.getLogger(LOGGER_NAME).debug(f"localtrack: {message}", *args)


def warn(message: str, *args: object) -> None:
    """Say something that the user should know, and that stops nothing."""
    import logging

    logging.getLogger(LOGGER_NAME).warning(f"localtrack: {message}", *args)


def complain(message: str, *args: object) -> None:
    """Say that something the user asked for was not done."""
    import logging

    logging.getLogger(LOGGER_NAME).error(f"localtrack: {message}", *args)
