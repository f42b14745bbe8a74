"""What must not be shown or written down: passwords in URLs and on command lines. Pure.

A store is copied, shared and pushed to servers, and a tag is never taken back from all of these. So in doubt a value is
left out: it costs a line in a command, not a key that has to be revoked. What looks like no secret at all (`train.py
hunter2`) cannot be told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

REDACTED: Final = "***"

_ENDINGS: Final = """
    password passwords passwd passphrase pwd token secret secrets apikey apikeys accesskey accesskeyid secretkey
    privatekey accountkey encryptionkey signingkey licensekey sharedkey credential credentials authorization cookie
    connectionstring webhook webhookurl
"""
_SECRET_ENDINGS: Final = tuple(_ENDINGS.split())
_SECRET_WORDS: Final = frozenset({"password", "passwd", "passphrase", "secret", "pass", "auth", "pat", "bearer"})
# Tokens of a language model, not of a service: `--max-token 512`, `--eos_token "</s>"`.
_HARMLESS: Final = "pad eos bos mask unk sep cls max min num per image stop start begin end"
_HARMLESS_TOKENS: Final = frozenset(_HARMLESS.split())
# The beginnings of well-known keys: GitHub, GitLab, Hugging Face, OpenAI, AWS, Slack, Databricks, Google, Weights &
# Biases, JWT.
_BEGINNINGS: Final = (
    "ghp_ gho_ ghs_ ghu_ github_pat_ glpat- hf_ sk- AKIA ASIA xoxb- xoxp- xapp- dapi AIza ya29. eyJ wandb_v1_"
)
_KEY_BEGINNINGS: Final = tuple(_BEGINNINGS.split())
# The signature of a pre-signed URL is as good as a key.
_SECRET_FIELDS: Final = ("key", "sig", "signature", "x-amz-signature", "x-amz-credential", "x-goog-signature")
_MIN_KEY_LENGTH: Final = 20


def redact_command(arguments: Sequence[str]) -> list[str]:
    """Return Python's command line without the values of secret-looking options, known keys and passwords in URLs.

    Source code given to Python's `-c` is left out as a whole: nothing in it can be told apart.

    Args:
        arguments: As in `sys.orig_argv`: the interpreter comes first.
    """
    code_at = _code_position(arguments)
    return ["..." if position == code_at else argument for position, argument in enumerate(_without_secrets(arguments))]


def without_credentials(url: str) -> str | None:
    """Return a remote's URL without user, password and query; None for a remote helper that is a command (`ext::`)."""
    scheme, separator, rest = url.partition("://")
    if separator:
        return f"{scheme}://{_without_user(rest).partition('?')[0].partition('#')[0]}"
    if url.startswith("ext::"):
        return None
    # scp-like, "git@host:path": the user is needed to reach it, a password there would be one by mistake.
    user, at, host = url.partition("@")
    return host if at and ":" in user and "/" not in user and "\\" not in user else url


def mask_url(url: str) -> str:
    """Return a URL as it may be shown, and still tells one place from another: without password and keys.

    The user stays, since it is part of where things are.
    """
    # There may be several, as in "a::b://y".
    first, *rest = url.split("://")
    return "://".join([first, *(_redact_query(_without_password(part)) for part in rest)])


def is_secret_name(name: str) -> bool:
    """Tell whether an option, variable or config key names a secret: `--api-key`, `model.hfToken`, `DB_PASSWORD`."""
    words = _words(name)
    if not words or (words[-1] == "token" and len(words) > 1 and words[-2] in _HARMLESS_TOKENS):
        return False
    return "".join(words).endswith(_SECRET_ENDINGS) or not _SECRET_WORDS.isdisjoint(words)


def _code_position(arguments: Sequence[str]) -> int | None:
    """Return where the code of `python -c code` is; None where a script or a module is run."""
    position = 1
    while position < len(arguments) and arguments[position].startswith("-"):
        option = arguments[position]
        if option.startswith("--"):
            position += 2 if option == "--check-hash-based-pycs" else 1
            continue
        letter = next((c for c in option[1:] if c in "cmXW"), "")
        attached = not option.endswith(letter)
        if letter in ("c", "m"):
            return (position if attached else position + 1) if letter == "c" else None
        position += 2 if letter and not attached else 1
    return None


def _without_secrets(arguments: Sequence[str]) -> Iterator[str]:
    hide_value = False
    for argument in arguments:
        # "--use-auth-token --lr 0.1": the option had no value. A value may begin with one dash.
        if hide_value and not argument.startswith("--"):
            yield REDACTED
            hide_value = False
            continue
        name, value = _option(argument)
        hide_value = not value and argument.startswith("-") and is_secret_name(name)
        yield _redact_argument(argument)


def _redact_argument(argument: str) -> str:
    name, value = _option(argument)
    if not value:
        return _redact_text(argument)
    # A value may be an option again: "--header=Authorization: x".
    return argument[: len(argument) - len(value)] + (REDACTED if is_secret_name(name) else _redact_argument(value))


def _option(argument: str) -> tuple[str, str]:
    """Split `--name=value`, `name=value` and `Name: value`; a name has no spaces or slashes."""
    for separator in ("=", ": "):
        name, found, value = argument.partition(separator)
        if found and not any(c in name for c in " /\\'\"\n"):
            return name, value
    return (argument, "") if argument.startswith("-") else ("", "")


def _redact_text(text: str) -> str:
    if "://" in text:
        # There may be several, as in "a://x,b://y".
        first, *rest = text.split("://")
        return "://".join([first, *(_redact_query(_without_user(part)) for part in rest)])
    return REDACTED if _is_known_key(text) else text


def _is_known_key(text: str) -> bool:
    if len(text) < _MIN_KEY_LENGTH or not text.startswith(_KEY_BEGINNINGS):
        return False
    return any(c.isdigit() for c in text) and all(c.isalnum() or c in "-_." for c in text)


def _redact_query(text: str) -> str:
    base, question, query = text.partition("?")
    fields = [_redact_field(field) for field in query.split("&")]
    return f"{base}{question}{'&'.join(fields)}"


def _redact_field(field: str) -> str:
    name, equals, _ = field.partition("=")
    return f"{name}={REDACTED}" if equals and (is_secret_name(name) or name.lower() in _SECRET_FIELDS) else field


def _without_user(rest: str) -> str:
    """Cut user and password out of what follows `://`."""
    end = next((i for i, c in enumerate(rest) if c in "/?#"), len(rest))
    authority, path = rest[:end], rest[end:]
    if "@" in authority:
        return authority.rpartition("@")[2] + path
    if _is_host(authority):
        return rest
    # "user:pass/word@host": no port follows the colon, so it is a password with a slash in it; the last @ ends it.
    return path.rpartition("@")[2] if "@" in path else REDACTED + path


def _without_password(rest: str) -> str:
    """Cut the password out of what follows `://`."""
    end = next((i for i, c in enumerate(rest) if c in "/?#"), len(rest))
    authority, path = rest[:end], rest[end:]
    user, at, host = authority.rpartition("@")
    if not at:
        if _is_host(authority):
            return rest
        user, host, path = authority, path.rpartition("@")[2] if "@" in path else REDACTED + path, ""
    name = user.partition(":")[0]
    return f"{name}@{host}{path}" if name else host + path


def _is_host(authority: str) -> bool:
    port = authority.rpartition(":")[2] if ":" in authority else ""
    return not port or port.isdigit() or authority.startswith("[")


def _words(name: str) -> list[str]:
    words: list[str] = []
    word = ""
    for char in name:
        if not char.isalnum():
            words.append(word)
            word = ""
            continue
        if char.isupper() and word and not word[-1].isupper():
            words.append(word)
            word = ""
        word += char
    words.append(word)
    return [w.lower() for w in words if w]
