"""nerfstudio's own commands, which load `config.yml` with `yaml.Loader`, read our methods' runs as plain data."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import yaml

from nerfstudio_avatars.nerfstudio_glue.config_file import read_node

if TYPE_CHECKING:
    from nerfstudio.engine.trainer import TrainerConfig

    from nerfstudio_avatars.nerfstudio_glue.trainer import AvatarTrainerConfig

_TAG = "tag:yaml.org,2002:python/object:"
_PLACES = ("nerfstudio_avatars.nerfstudio_glue.trainer", "nerfstudio_avatars.trainer")
"""Where the trainer's configuration is, and was."""
_LOCAL_LOGS = frozenset({"viewer", "tensorboard", "viewer+tensorboard", "viewer_legacy"})
"""What `vis` may be without anything being sent away."""


def read_our_runs_as_plain_data() -> None:
    """The loader asks for a constructor by the tag of the outermost object, before it builds anything within."""

    def construct(_: yaml.Loader, node: yaml.Node) -> AvatarTrainerConfig:
        typed = _command_line(sys._getframe())
        source = Path("config.yml") if typed is None else typed.load_config
        config = read_node(node, str(source))
        if typed is not None:
            _trained_again_here(config, typed)
        return config

    for place in _PLACES:
        yaml.add_constructor(f"{_TAG}{place}.AvatarTrainerConfig", construct, Loader=yaml.Loader)


def _command_line(frame: FrameType | None) -> Any:
    """What was typed, if it is `ns-train --load-config` that reads the file: it forgets all else over it."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "main" and Path(code.co_filename).parts[-3:] == ("nerfstudio", "scripts", "train.py"):
            return frame.f_locals["config"]
        frame = frame.f_back
    return None


def _trained_again_here(config: AvatarTrainerConfig, typed: TrainerConfig) -> None:
    """Takes what is about this computer from the command line, not from a file that may be somebody else's.

    Args:
        config: from the file; it is changed.
        typed: `ns-train`'s, with `load_config`.
    """
    config.machine = dataclasses.replace(typed.machine, seed=config.machine.seed)
    config.viewer = typed.viewer
    if config.vis not in _LOCAL_LOGS:
        config.vis = typed.vis
    if typed.data is not None:
        config.data = config.pipeline.datamanager.data = typed.data
    for name in ("output_dir", "timestamp", "load_dir", "load_step", "load_checkpoint"):
        setattr(config, name, getattr(typed, name))
