"""The state of all random numbers, as plain data: a resumed training draws the numbers it would have drawn."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Of Python, numpy and torch (the CPU and every GPU)."""
    version, words, gauss = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=True)
    kind, keys, place, has_gauss, cached = numpy_state
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(kind), torch.from_numpy(keys.astype(np.int64)), int(place), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "seed": torch.initial_seed(),
    }


def restore_random_state(state: dict[str, Any] | None) -> None:
    """Takes up what `random_state` gave; nothing where a checkpoint has none, or one that is no such thing."""
    if not isinstance(state, dict):
        return
    try:
        version, words, gauss = state["python"]
        kind, keys, place, has_gauss, cached = state["numpy"]
        random.setstate((version, tuple(words), gauss))
        np.random.set_state((kind, keys.numpy().astype(np.uint32), place, has_gauss, cached))
        # Seeds first: what is built later asks torch for its seed.
        torch.manual_seed(state["seed"])
        torch.set_rng_state(state["torch"])
        if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError):
        print("The checkpoint's random numbers cannot be taken up; the training goes on with others.")
