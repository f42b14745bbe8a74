"""Whether less or more of a metric is better, as far as its name tells."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal

from localtrack.errors import InvalidInputError

Direction = Literal["min", "max"]

_LESS: Final = frozenset(
    {
        *("loss", "error", "errors", "err", "mae", "mse", "rmse", "mape", "smape", "msle", "rmsle", "nll", "bce"),
        *("perplexity", "ppl", "wer", "cer", "ter", "fid", "kl", "brier", "regret", "divergence", "deviance"),
        *("latency", "cost", "logloss", "crossentropy", "eer", "fpr", "fnr"),
    }
)
_MORE: Final = frozenset(
    {
        *("acc", "accuracy", "auc", "auroc", "auprc", "prauc", "f1", "f2", "fbeta", "precision", "recall", "r2"),
        *("score", "bleu", "rouge", "meteor", "map", "ap", "ndcg", "mrr", "iou", "miou", "dice", "jaccard", "psnr"),
        *("ssim", "reward", "return", "throughput", "sensitivity", "specificity", "tpr", "tnr", "kappa", "mcc"),
    }
)
_WORD: Final = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+")


def guess_direction(key: str) -> Direction | None:
    """Return which way a metric of this name is better; None where its words say nothing, or contradict each other."""
    words = {word.lower() for word in _WORD.findall(key)}
    less, more = bool(words & _LESS), bool(words & _MORE)
    if less == more:
        return None
    return "max" if less == ("neg" in words) else "min"


def choose_direction(key: str, *, minimize: Iterable[str] = (), maximize: Iterable[str] = ()) -> Direction | None:
    """Return which way a metric is better: what was said, else what its name tells.

    Raises:
        InvalidInputError: Both were said.
    """
    if key in minimize and key in maximize:
        raise InvalidInputError(f"The metric {key!r} is to be both minimized and maximized.")
    if key in minimize:
        return "min"
    return "max" if key in maximize else guess_direction(key)


def require_direction(key: str, direction: str | None) -> Direction:
    """Return a direction, by default what the name of the metric tells.

    Raises:
        InvalidInputError: It is none, or the name tells nothing.
    """
    found = guess_direction(key) if direction is None else direction
    if found == "min":
        return "min"
    if found == "max":
        return "max"
    raise InvalidInputError(
        f"Whether less or more of {key!r} is better cannot be told."
        if direction is None
        else f"{direction!r} is no direction.",
        hint="Give direction='min' or direction='max'.",
    )
