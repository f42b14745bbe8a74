"""What must not be written into a tag: passwords in URLs and on command lines. Pure.

A store is copied, shared and pushed to servers, and a tag is never taken back from all of these. So in doubt a value is
left out: it costs a line in a command, not a key that has to be revoked. What looks like no secret at all (`train.py
hunter2`) cannot be told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

REDACTED: Final = "***"

_SECRET_ENDINGS: Final = (
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pwd",
    "token",
    "secret",
    "secrets",
    "apikey",
    "apikeys",
    "accesskey",
    "accesskeyid",
    "secretkey",
    "privatekey",
    "accountkey",
    "encryptionkey",
    "signingkey",
    "licensekey",
    "sharedkey",
    "sastoken",
    "credential",
    "credentials",
    "authorization",
    "cookie",
    "connectionstring",
    "webhook",
    "webhookurl",
)
_SECRET_WORDS: Final = frozenset(
    {"password", "passwd", "passphrase", "secret", "pass", "auth", "pat", "bearer", "authtoken"}
)
# Tokens of a language model, not of a service: `--max-token 512`, `--eos_token "</s>"`.
_HARMLESS_TOKENS: Final = frozenset(
    {
        "pad",
        "eos",
        "bos",
        "mask",
        "unk",
        "sep",
        "cls",
        "max",
        "min",
        "num",
        "per",
        "image",
        "stop",
        "start",
        "begin",
        "end",
    }
)
# The beginnings of well-known keys: GitHub, GitLab, Hugging Face, OpenAI, AWS, Slack, Databricks, Google, Weights &
# Biases, JWT.
_KEY_BEGINNINGS: Final = (
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "hf_",
    "sk-",
    "AKIA",
    "ASIA",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "dapi",
    "dose",
    "AIza",
    "ya29.",
    "eyJ",
    "wandb_v1_",
)
_MIN_KEY_LENGTH: Final = 20


def redact_command(arguments: Sequence[str]) -> list[str]:
    """Return a command line without the values of secret-looking options, known keys and passwords in URLs.

    Source code given to Python's `-c` is replaced as a whole: nothing in it can be told apart.
    """
    return list(_redacted(arguments))


def without_credentials(url: str) -> str | None:
    """Return a remote's URL without user, password and query; None for a remote helper that is a command (`ext::`)."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        if url.startswith("ext::"):
            return None
        # scp-like, "git@host:path": the user is needed to reach it, a password there would be one by mistake.
        user, at, host = url.partition("@")
        return host if at and ":" in user and "/" not in user else url
    rest = rest.partition("?")[0].partition("#")[0]
    authority, slash, path = rest.partition("/")
    if "@" not in authority and not _is_host(authority) and "@" in path:
        # A password with a slash in it: the last @ ends it.
        path, slash, authority = path.rpartition("@")[2], "", ""
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def is_secret_name(name: str) -> bool:
    """Tell whether an option, variable or config key names a secret: `--api-key`, `model.hfToken`, `DB_PASSWORD`."""
    words = _words(name)
    if not words or (words[-1] == "token" and len(words) > 1 and words[-2] in _HARMLESS_TOKENS):
        return False
    return "".join(words).endswith(_SECRET_ENDINGS) or not _SECRET_WORDS.isdisjoint(words)


def _redacted(arguments: Sequence[str]) -> Iterator[str]:
    hide_value = hide_code = False
    for argument in arguments:
        if hide_code:
            yield "..."
            hide_code = False
            continue
        # "--use-auth-token --lr 0.1": the option had no value. A value may begin with one dash.
        if hide_value and not argument.startswith("--"):
            yield REDACTED
            hide_value = False
            continue
        name, value = _option(argument)
        secret = is_secret_name(name)
        hide_value = secret and not value and argument.startswith("-")
        hide_code = argument == "-c"
        yield argument[: len(argument) - len(value)] + REDACTED if secret and value else _redact_text(argument, value)


def _option(argument: str) -> tuple[str, str]:
    """Split `--name=value`, `name=value` and `Name: value`; a name has no spaces or slashes."""
    for separator in ("=", ": "):
        name, found, value = argument.partition(separator)
        if found and not any(c in name for c in " /\\'\"\n"):
            return name, value
    return (argument, "") if argument.startswith("-") else ("", "")


def _redact_text(argument: str, value: str) -> str:
    text = value or argument
    if "://" in text:
        return argument[: len(argument) - len(text)] + _redact_url(text)
    if len(text) >= _MIN_KEY_LENGTH and text.startswith(_KEY_BEGINNINGS):
        return argument[: len(argument) - len(text)] + REDACTED
    return argument


def _redact_url(text: str) -> str:
    """Cut user and password out of a URL, and the values of secret names out of its query."""
    base, question, query = text.partition("?")
    scheme, separator, rest = base.partition("://")
    fields = [_redact_field(field) for field in query.split("&")]
    return f"{scheme}{separator}{rest.rpartition('@')[2]}{question}{'&'.join(fields)}"


def _redact_field(field: str) -> str:
    name, equals, _ = field.partition("=")
    # The signature of a pre-signed URL is as good as a key.
    return f"{name}={REDACTED}" if equals and (is_secret_name(name) or name.lower() in _SIGNATURES) else field


_SIGNATURES: Final = (
    "sig",
    "signature",
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-security-token",
    "x-goog-signature",
    "key",
)


def _is_host(authority: str) -> bool:
    host, colon, port = authority.rpartition(":")
    return not colon or port == "" or port.isdigit() or host.startswith("[") or authority.startswith("[")


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
