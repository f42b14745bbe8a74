"""The limits of other services. Services change them: each is shown with its source and date, and can be overridden."""

from __future__ import annotations

from typing import Final, NamedTuple

from localtrack.errors import ErrorCode, InvalidInputError

_LIMITS_PAGE: Final = "https://docs.gcp.databricks.com/pt/resources/limits.html"


class PresetLimit(NamedTuple):
    """One limit of a service."""

    name: str
    value: int
    is_fixed: bool
    """True: nobody can raise it. False: the service's support can."""
    source: str
    as_of: str
    """Month, or year, of the page."""


PRESETS: Final[dict[str, tuple[PresetLimit, ...]]] = {
    "databricks": (
        PresetLimit("run.metric_steps", 1_000_000, True, _LIMITS_PAGE, "2025"),
        PresetLimit("run.params", 1_600, True, _LIMITS_PAGE, "2025"),
        PresetLimit("run.tags", 1_600, True, _LIMITS_PAGE, "2025"),
        PresetLimit("experiment.runs", 500_000, True, _LIMITS_PAGE, "2025"),
        PresetLimit("experiment.tags", 1_000, True, _LIMITS_PAGE, "2025"),
        PresetLimit("logged_model.metrics", 1_000, False, "https://github.com/mlflow/mlflow/issues/20715", "2026-02"),
    ),
    # MLflow's own server limits sizes of names and values, and what one call may hold, but no totals.
    "mlflow-oss": (),
}


def find_preset(name: str) -> tuple[PresetLimit, ...]:
    """Return the limits of a service.

    Raises:
        InvalidInputError: There is no preset of that name.
    """
    if name not in PRESETS:
        raise InvalidInputError(
            f"There is no preset {name!r}.", code=ErrorCode.INVALID_SETTING, hint=f"There are {', '.join(PRESETS)}."
        )
    return PRESETS[name]
