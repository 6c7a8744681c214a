"""The option that comes first in all verbs that open a trained run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(kw_only=True)
class AvatarOption:
    """A base class, because the options of base classes come first in the help; name it last among several."""

    load_config: Path
    """Trained run to open: its folder, the config.yml in it, or a portable avatar (.avatar)."""
