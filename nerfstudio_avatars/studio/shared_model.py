"""A model that a page draws with, while a training or long work may use it too."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

_WAY_SECONDS = 0.01
"""Time between two steps of long work in which a picture may be drawn."""


class SharedModel:
    """Lends a model to one user at a time.

    Args:
        model: is drawn with.
        lock: held while the model is used, as a training does too; by default a new one.
    """

    def __init__(self, model: torch.nn.Module, lock: AbstractContextManager | None = None) -> None:
        self._model, self.lock = model, lock or threading.Lock()
        self.training = False
        """Whether a training uses it too."""

    @contextmanager
    def using(self) -> Iterator[None]:
        """The model to oneself, out of training and without gradients."""
        with self.lock, torch.no_grad():
            training = self._model.training
            self._model.eval()
            try:
                yield
            finally:
                self._model.train(training)

    def give_way(self) -> None:
        """Called between two steps of long work, within `using`: lets pictures be drawn meanwhile.

        A training waits all the time, because what it learnt in between would fit nothing from before.
        """
        if self.training:
            return
        self.lock.__exit__(None, None, None)
        try:
            time.sleep(_WAY_SECONDS)
        finally:
            self.lock.__enter__()
