"""What a check came to: one finding for each file that is not as it should be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from localtrack.errors import ErrorCode
from localtrack.types import CheckFinding, Finding

Severity = Literal["info", "warning", "error"]

_RANK: Final[dict[str, int]] = {"info": 0, "warning": 1, "error": 2}

_BY_WORDS: Final[tuple[tuple[str, str], ...]] = (
    ("reads format", "M8"),
    ("only a newer version", "M8"),
    ("checksum", "M5"),
    ("at another place than it says", "M5"),
    ("behind the end of a closed log", "M5"),
    ("behind the record that closes the log", "M5"),
    ("where its end counts", "M5"),
    ("names another", "M7"),
    ("does not fit", "M7"),
    ("it belongs into", "M7"),
    ("should be", "M7"),
    ("the log is missing", "M2"),
    ("are missing", "M4"),
    ("is missing, and its points", "M4"),
    ("where chunks begin with number", "M4"),
    ("although a later chunk was begun", "M4"),
    ("the first counts", "M10"),
)
"""Words in the sentences of readers that tell which invariant is broken; M3 where none does: a damaged line."""


def invariant_of(what: str) -> str:
    """Return the invariant that a reader's sentence speaks of."""
    return next((invariant for words, invariant in _BY_WORDS if words in what), "M3")


@dataclass(slots=True)
class CheckReport:
    """What a check found, and what was mended."""

    findings: list[CheckFinding] = field(default_factory=list)
    """By key; what was mended is not among them."""
    repaired: list[CheckFinding] = field(default_factory=list)
    runs_count: int = 0
    models_count: int = 0
    files_count: int = 0
    bytes_count: int = 0

    @property
    def is_sound(self) -> bool:
        """True: nothing is wrong that anybody has to care about; pieces of information do not count."""
        return all(finding.severity == "info" for finding in self.findings)


class Findings:
    """Collects findings, one for each key: the first that is told of a file, with the greatest severity of all."""

    def __init__(self) -> None:
        self._by_key: dict[str, list[CheckFinding]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def add(
        self,
        key: str,
        what: str,
        invariant: str = "",
        *,
        severity: Severity = "error",
        remedy: str = "",
        is_repairable: bool = False,
        code: str = ErrorCode.DAMAGED,
    ) -> None:
        """Add what is wrong with a file or folder."""
        finding = CheckFinding(key, what, code, severity, invariant or invariant_of(what), remedy, is_repairable)
        self._by_key.setdefault(key, []).append(finding)

    def take(self, findings: Iterable[Finding], *, remedy: str) -> None:
        """Add what readers say."""
        for finding in findings:
            invariant = invariant_of(finding.what)
            code = ErrorCode.NEWER_FORMAT if invariant == "M8" else finding.code
            self.add(finding.key, finding.what, invariant, remedy=remedy, code=code)

    def keys_of_errors(self) -> list[str]:
        """Return the files and folders of which something is an error, and cannot be repaired as far as is known."""
        return [
            key
            for key, of_key in sorted(self._by_key.items())
            if any(it.severity == "error" for it in of_key) and not any(it.is_repairable for it in of_key)
        ]

    def mark_repairable(self, key: str, *, remedy: str) -> None:
        """Take note that what was told of a file can be repaired."""
        self._by_key[key] = [replace(it, remedy=remedy, is_repairable=True) for it in self._by_key[key]]

    def merged(self) -> list[CheckFinding]:
        """Return one finding for each key, by key."""
        return [_merged(of_key) for _, of_key in sorted(self._by_key.items())]


def _merged(findings: list[CheckFinding]) -> CheckFinding:
    first = max(findings, key=lambda finding: (_RANK[finding.severity], finding.invariant == "M8"))
    more_count = len(findings) - 1
    what = first.what if not more_count else f"{first.what} (and {more_count} more that follows from it)"
    mending = next((finding for finding in findings if finding.is_repairable), None)
    if mending is None:
        return replace(first, what=what)
    return replace(first, what=what, remedy=mending.remedy, is_repairable=True)
