"""Matches the identities of a checkpoint to those of a model, which may have other clips."""

from __future__ import annotations

from typing import Any

import torch
from nerfstudio.utils.rich_utils import CONSOLE
from torch import nn

from nerfstudio_avatars.unsup_volanim.row_file import NONE, SLOTS

__all__ = ["match_identities"]


def match_identities(
    state: dict[str, Any], prefix: str, identities: list[str], kept: dict[str, nn.Module | None]
) -> None:
    """Changes weights so that each identity finds its row, even if clips were added to the data or removed.

    An identity that the checkpoint does not know gets the average of all rows, but of volumes in a file none. Says how
    many were known.

    Args:
        state: the weights of a checkpoint, with the names of its identities in the model's extra state.
        prefix: what the names of the model's weights begin with.
        identities: names of the model's identities, in the order of their rows.
        kept: modules of the model, by name, that hold poses of training frames. They start anew if clips were added or
            removed.
    """
    names = state.get(f"{prefix}_extra_state", {}).get("clips", {}).get("identities")
    for name, module in kept.items():
        old = state.get(f"{prefix}{name}.rotation")
        if module is None or old is None:
            continue
        # Poses of frames belong to the clips as they were numbered then.
        if names != identities or old.shape != module.rotation.shape:
            state |= {f"{prefix}{name}.{key}": value for key, value in module.state_dict().items()}
    if not names or names == identities:
        return
    rows = {name: row for row, name in enumerate(names)}
    for name in ("embedding.table", "embedding.rows.table", "detail"):
        each = f"{prefix}network.{name}"
        old = state.get(each)
        if old is not None and len(old):
            state[each] = torch.stack([old[rows[name]] if name in rows else old.mean(0) for name in identities])
    fine = f"{prefix}network.fine."
    volumes = {row: state.pop(f"{fine}{row}") for row in range(len(names)) if f"{fine}{row}" in state}
    if volumes:
        mean = torch.stack(list(volumes.values())).mean(0)
        state |= {f"{fine}{row}": volumes.get(rows.get(name, -1), mean) for row, name in enumerate(identities)}
    slots = f"{prefix}{SLOTS}"
    if slots in state:
        old, none = state[slots]["slots"], torch.tensor(NONE)
        state[slots] = {"slots": torch.stack([old[rows[name]] if name in rows else none for name in identities])}
    known = sum(name in rows for name in identities)
    CONSOLE.print(f"Identities matched by name: {known} known, {len(identities) - known} new.")
