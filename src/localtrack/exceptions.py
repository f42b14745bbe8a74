"""MLflow's name for the root of all errors, so that `except mlflow.exceptions.MlflowException` works unchanged.

Code written for MLflow looks at `error_code` and `message`; every error of localtrack has both.
"""

from __future__ import annotations

from localtrack.errors import LocaltrackError

MlflowException = LocaltrackError

__all__ = ["MlflowException"]
