"""The kinds of models, their grids, and how each learns one epoch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPClassifier
from tools.demo.digits import DIGITS, Digits

Settings = Mapping[str, Any]


class Classifier(Protocol):
    """What every model here can do."""

    def predict_proba(self, pixels: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of model.

    Args:
        name: For run names and tags.
        title: For people.
        grid: Setting -> the values to try.
        learn: Yields the model after each epoch, the same object every time.
    """

    name: str
    title: str
    grid: Mapping[str, tuple[Any, ...]]
    learn: Callable[[Digits, Settings, int, int], Iterator[Classifier]]

    def trials(self) -> list[Settings]:
        """Return all combinations of the grid."""
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]


def _learn_linear(digits: Digits, settings: Settings, epoch_count: int, seed: int) -> Iterator[Classifier]:
    model = SGDClassifier(
        loss="log_loss",
        learning_rate="constant",
        eta0=settings["rate"],
        alpha=settings["alpha"],
        random_state=seed,
    )
    yield from _learn_in_parts(model, digits, epoch_count, seed)


def _learn_network(digits: Digits, settings: Settings, epoch_count: int, seed: int) -> Iterator[Classifier]:
    model = MLPClassifier(
        hidden_layer_sizes=(settings["hidden"],),
        learning_rate_init=settings["rate"],
        batch_size=64,
        random_state=seed,
    )
    yield from _learn_in_parts(model, digits, epoch_count, seed)


def _learn_in_parts(model: Any, digits: Digits, epoch_count: int, seed: int) -> Iterator[Classifier]:
    chance = np.random.default_rng(seed)
    for _ in range(epoch_count):
        order = chance.permutation(len(digits.train_labels))
        model.partial_fit(digits.train_pixels[order], digits.train_labels[order], classes=DIGITS)
        yield model


def _learn_boosting(digits: Digits, settings: Settings, epoch_count: int, seed: int) -> Iterator[Classifier]:
    model = GradientBoostingClassifier(
        learning_rate=settings["rate"],
        max_depth=settings["depth"],
        subsample=0.6,
        max_features="sqrt",
        warm_start=True,
        random_state=seed,
    )
    for epoch in range(epoch_count):
        model.set_params(n_estimators=epoch + 1)  # with warm_start, fit adds the trees that are missing
        model.fit(digits.train_pixels, digits.train_labels)
        yield model


FAMILIES = (
    Family("linear", "Linear model", {"rate": (0.001, 0.01), "alpha": (0.0001, 0.001, 0.01)}, learn=_learn_linear),
    Family("boosting", "Gradient boosting", {"rate": (0.1, 0.3), "depth": (2, 4)}, learn=_learn_boosting),
    Family("network", "Neural network", {"rate": (0.001, 0.01), "hidden": (16, 64)}, learn=_learn_network),
)
