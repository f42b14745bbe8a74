"""The errors of localtrack: one root, and one subclass for each thing that a handler would do differently.

    LocaltrackError
    ├── NotFoundError          also LookupError    the experiment, run, artifact or store named is not there
    ├── AlreadyExistsError     also ValueError     the name is taken
    ├── InvalidInputError      also ValueError     an argument breaks a rule; nothing was written
    ├── StateError             also RuntimeError   the call does not fit the state of the thing (a deleted run)
    ├── MissingPackageError    also ImportError    it needs a package that is not installed
    ├── LockedError            also TimeoutError   somebody else is doing maintenance
    ├── QuotaExceededError     also RuntimeError   a limit that somebody set would be broken
    ├── StorageError           also OSError        the file system refused
    │   └── StorageFullError                       there is no space, or no quota, left on it
    ├── FormatError            also ValueError     bytes in the store are not what FORMAT.md says
    │   └── DamagedIndexError                      a file of the search index is damaged; it is made anew
    └── SyncError              also RuntimeError   a remote refused or could not be reached
        ├── RefusedError                           it answered that it will not do it; nothing was changed there
        ├── UnsureError                            nobody can tell whether it was done
        ├── UnreachableError                       the request did not get there
        ├── ThrottledError                         there were too many requests; this one was not carried out
        └── StoppedError                           the push was asked to stop

Every error has a stable `code` (never renamed, never reused), a message of one sentence, a `hint` that says what to do,
and the `exit_code` with which the command line ends. `error_code` is MLflow's name for the same category, so that code
written for `MlflowException.error_code` works unchanged.
"""

from __future__ import annotations

import enum
from typing import Any


class ErrorCode(enum.StrEnum):
    """Stable names of what went wrong. Append only."""

    STORE_NOT_FOUND = "store_not_found"
    EXPERIMENT_NOT_FOUND = "experiment_not_found"
    RUN_NOT_FOUND = "run_not_found"
    ARTIFACT_NOT_FOUND = "artifact_not_found"
    TAG_NOT_FOUND = "tag_not_found"
    EXPERIMENT_EXISTS = "experiment_exists"
    INVALID_NAME = "invalid_name"
    INVALID_VALUE = "invalid_value"
    INVALID_PATH = "invalid_path"
    INVALID_FILTER = "invalid_filter"
    INVALID_SETTING = "invalid_setting"
    PARAM_CHANGED = "param_changed"
    EXPERIMENT_DELETED = "experiment_deleted"
    RUN_DELETED = "run_deleted"
    RUN_ACTIVE = "run_active"
    RUN_ENDED = "run_ended"
    STORE_CLOSED = "store_closed"
    MISSING_EXTRA = "missing_extra"
    LOCKED = "locked"
    QUOTA_EXCEEDED = "quota_exceeded"
    STORAGE_FAILED = "storage_failed"
    STORAGE_FULL = "storage_full"
    READ_ONLY = "read_only"
    UNSUPPORTED = "unsupported"
    DAMAGED = "damaged"
    NEWER_FORMAT = "newer_format"
    DIVERGED = "diverged"
    SYNC_FAILED = "sync_failed"
    INVALID_SQL = "invalid_sql"
    MODEL_NOT_FOUND = "model_not_found"
    SYNC_REFUSED = "sync_refused"
    SYNC_DENIED = "sync_denied"
    SYNC_UNSURE = "sync_unsure"
    SYNC_UNREACHABLE = "sync_unreachable"
    SYNC_INCOMPLETE = "sync_incomplete"


class LocaltrackError(Exception):
    """Root of every error that localtrack raises on purpose.

    Args:
        message: One sentence: what was wrong, and where.
        code: What went wrong, as a stable name.
        hint: What to do about it; may be empty.
    """

    exit_code = 1
    error_code = "INTERNAL_ERROR"
    default_code = ErrorCode.STORAGE_FAILED

    def __init__(self, message: str, *, code: ErrorCode | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.code, self.hint)


def _rebuild(kind: type[LocaltrackError], message: str, code: ErrorCode, hint: str) -> LocaltrackError:
    return kind(message, code=code, hint=hint)


class NotFoundError(LocaltrackError, LookupError):
    """The experiment, run, artifact or store that was named is not there."""

    exit_code = 3
    error_code = "RESOURCE_DOES_NOT_EXIST"
    default_code = ErrorCode.RUN_NOT_FOUND


class AlreadyExistsError(LocaltrackError, ValueError):
    """The name is taken."""

    exit_code = 4
    error_code = "RESOURCE_ALREADY_EXISTS"
    default_code = ErrorCode.EXPERIMENT_EXISTS


class InvalidInputError(LocaltrackError, ValueError):
    """An argument breaks a rule. Nothing of the call was written."""

    exit_code = 2
    error_code = "INVALID_PARAMETER_VALUE"
    default_code = ErrorCode.INVALID_VALUE


class StateError(LocaltrackError, RuntimeError):
    """The call does not fit the state of the thing: a deleted run, an ended one, a closed store."""

    exit_code = 5
    error_code = "INVALID_STATE"
    default_code = ErrorCode.RUN_ENDED


class MissingPackageError(LocaltrackError, ImportError):
    """What was asked for needs a package that is not installed."""

    exit_code = 13
    default_code = ErrorCode.MISSING_EXTRA

    @classmethod
    def of(cls, need: str, package: str, *, extra: str, otherwise: str = "") -> MissingPackageError:
        """Return the error for a package that an extra of localtrack brings.

        Args:
            need: What needs it, to begin the sentence with.
            package: Its name for people.
            extra: The extra that brings it.
            otherwise: What to do without it, to end the hint with.
        """
        hint = f"Install it with `pip install 'localtrack[{extra}]'`"
        return cls(
            f"{need} needs {package}, which is not installed.", hint=f"{hint}{otherwise and ', or '}{otherwise}."
        )


class LockedError(LocaltrackError, TimeoutError):
    """Somebody else is doing maintenance on this store."""

    exit_code = 6
    error_code = "TEMPORARILY_UNAVAILABLE"
    default_code = ErrorCode.LOCKED


class QuotaExceededError(LocaltrackError, RuntimeError):
    """A limit that somebody set would be broken."""

    exit_code = 7
    error_code = "RESOURCE_LIMIT_EXCEEDED"
    default_code = ErrorCode.QUOTA_EXCEEDED


class StorageError(LocaltrackError, OSError):
    """The file system or object store refused."""

    exit_code = 8
    error_code = "INTERNAL_ERROR"
    default_code = ErrorCode.STORAGE_FAILED


class StorageFullError(StorageError):
    """There is no space, or no quota, left where the store lies."""

    exit_code = 9
    default_code = ErrorCode.STORAGE_FULL


class FormatError(LocaltrackError, ValueError):
    """Bytes in the store are not what `schemas/FORMAT.md` says, or are of a newer format."""

    exit_code = 10
    error_code = "INTERNAL_ERROR"
    default_code = ErrorCode.DAMAGED


class DamagedIndexError(FormatError):
    """A file of the search index is not what was written. The index is left aside, and made anew."""

    exit_code = 14


class SyncError(LocaltrackError, RuntimeError):
    """A remote refused, or could not be reached."""

    exit_code = 11
    error_code = "TEMPORARILY_UNAVAILABLE"
    default_code = ErrorCode.SYNC_FAILED


class RefusedError(SyncError):
    """A remote answered that it will not do it. Nothing was changed there."""

    exit_code = 20
    default_code = ErrorCode.SYNC_REFUSED

    def __init__(
        self, message: str, *, code: ErrorCode | None = None, hint: str = "", status: int = 0, remote_code: str = ""
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.status = status
        """The HTTP status."""
        self.remote_code = remote_code
        """The remote's `error_code`."""

    @property
    def is_not_found(self) -> bool:
        """Whether what the request named is not there."""
        codes = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "ENDPOINT_NOT_FOUND")
        return self.remote_code in codes or (self.status == 404 and not self.remote_code)

    @property
    def is_exists(self) -> bool:
        """Whether the name is taken."""
        return self.remote_code in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS")


class UnsureError(SyncError):
    """Nobody can tell whether a remote carried the request out: the connection broke, or the server failed."""

    exit_code = 21
    default_code = ErrorCode.SYNC_UNSURE
    is_late = False
    """Whether the remote did not answer in time, so that it may carry the request out later."""


class UnreachableError(SyncError):
    """The request did not reach the remote."""

    exit_code = 22
    default_code = ErrorCode.SYNC_UNREACHABLE


class ThrottledError(SyncError):
    """The remote did not carry the request out because there were too many."""

    exit_code = 23
    default_code = ErrorCode.SYNC_UNREACHABLE

    def __init__(
        self, message: str, *, code: ErrorCode | None = None, hint: str = "", wait_s: float | None = None
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.wait_s = wait_s
        """What the remote asks for; None if it does not say."""


class StoppedError(SyncError):
    """The push was asked to stop. What was sent is in the ledger."""

    exit_code = 24
    default_code = ErrorCode.SYNC_INCOMPLETE
