"""Passwords that stand in the URL of a store: kept in memory, so that the URL can go around without them.

Everything that is shown, logged or written names a store by the URL that `keep_password` returns. What connects asks
`with_password`: for this process, its forks, and whom it gives the whole URL.
"""

from __future__ import annotations

from localtrack.redaction import mask_url

_known: dict[str, str] = {}
"""By scheme, user, host and port, without the password: the same with it."""


def keep_password(url: str) -> str:
    """Return a URL as it may be shown and written, and remember the password that stood in it."""
    shown = mask_url(url)
    place, with_secret = _place(shown), _place(url)
    if place != with_secret and "@" in with_secret:
        _known[place] = with_secret
    return shown


def with_password(url: str) -> str:
    """Return a URL with the password that this process was given for its user and host, if it was."""
    place = _place(url)
    return _known.get(place, place) + url[len(place) :]


def says_secret(text: str, url: str) -> bool:
    """Return whether what a package says of a URL with a password may hold a part of that."""
    whole = with_password(url)
    secret = _place(whole).partition("://")[2].rpartition("@")[0].partition(":")[2]
    # Without one that can be told, a piece of it may have been taken for a port, or for a path.
    return secret in text if secret else mask_url(whole) != whole


def _place(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.partition("/")[0]
