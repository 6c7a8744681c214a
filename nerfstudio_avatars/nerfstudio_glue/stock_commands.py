"""Changes what nerfstudio's own commands (`ns-train`, `ns-eval`, `ns-render`, `ns-viewer`) do for our methods.

After a mistake of the user only the message is printed, and checkpoints are compared with the model before they are
loaded. Runs of other methods are not affected.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.camera_paths import check_path_of_ns_render
from nerfstudio_avatars.standard_streams import lost_output, settle_streams

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras
    from nerfstudio.engine.trainer import TrainerConfig
    from nerfstudio.pipelines.base_pipeline import Pipeline
    from torch import Tensor


def tell_users_errors_alone() -> None:
    """Makes Python print only the message of an uncaught `UserError`, without its traceback.

    The exit code stays 1, as for any uncaught error.
    """
    before = sys.excepthook
    if getattr(before, "tells_users_errors_alone", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        lost = lost_output(error)
        if isinstance(error, UserError):
            print(f"{_command()}: {error}", file=sys.stderr)
        elif isinstance(error, OSError) and lost is not None:
            print(f"{_command()}: {lost.filename}: {lost.strerror}", file=sys.stderr)
        elif isinstance(error, KeyboardInterrupt):
            print(f"{_command()}: stopped.", file=sys.stderr)
        else:
            before(kind, error, trace)

    hook.tells_users_errors_alone = True  # type: ignore[attr-defined]
    sys.excepthook = hook


def hear_of_lost_output() -> None:
    """Lets a training end by itself when nobody takes its output any more; rich's own way is to end the process."""
    from nerfstudio.utils.rich_utils import CONSOLE

    def tell() -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    settle_streams()
    CONSOLE.on_broken_pipe = tell  # type: ignore[method-assign]


def _command() -> str:
    """The name of the command, such as `ns-train`, even for `python -m nerfstudio.scripts.train`."""
    name = Path(sys.argv[0] or "python").stem
    return name if name.startswith("ns-") else f"ns-{name}" if "nerfstudio" in sys.argv[0] else name or "python"


def check_checkpoints() -> None:
    """Makes nerfstudio's `eval_setup` read checkpoints of our methods as this package does, with all checks."""
    from nerfstudio.utils import eval_utils

    stock = eval_utils.eval_load_checkpoint
    if getattr(stock, "checks_checkpoints", False):
        return

    def load(config: TrainerConfig, pipeline: Pipeline) -> tuple[Path, int]:
        if not hasattr(config, "opened_in"):
            return stock(config, pipeline)
        check_path_of_ns_render()
        return _load_for_rendering(config, pipeline)

    load.checks_checkpoints = True  # type: ignore[attr-defined]
    eval_utils.eval_load_checkpoint = load


def _load_for_rendering(config: TrainerConfig, pipeline: Pipeline) -> tuple[Path, int]:
    """Loads the weights of a run's last readable checkpoint, or of step `config.load_step`, into a pipeline.

    Raises:
        UserError: if there is none, or it comes from another method or has other sizes.
    """
    from nerfstudio.utils.rich_utils import CONSOLE

    from nerfstudio_avatars.nerfstudio_glue import checkpoints

    assert config.load_dir is not None
    read = checkpoints.read_latest(Path(config.load_dir), config.load_step)
    pipeline.model.update_to_step(read.step)
    source = f"{read.path} ({checkpoints.method_of(read.state)})"
    target = f"the run's {config.method_name}"
    checkpoints.load_weights(pipeline.model, read.state["pipeline"], source, target, read.path)
    CONSOLE.print(f":white_check_mark: Done loading checkpoint from {read.path}")
    return read.path, read.step


def move_between_cameras() -> None:
    """Lets `ns-render interpolate` show what moves: nerfstudio's path between cameras forgets their frames and times.

    With `--order-poses` the path visits the cameras in another order, and frames still follow the data's.
    """
    from nerfstudio.cameras import camera_paths

    stock = camera_paths.get_interpolated_camera_path
    if getattr(stock, "keeps_frames", False):
        return

    def path_with_frames(cameras: Cameras, steps: int, order_poses: bool) -> Cameras:
        path = stock(cameras, steps, order_poses)
        path.times = None if cameras.times is None else _between(cameras.times, steps)
        metadata = cameras.metadata or {}
        if "frame" in metadata:
            path.metadata = {"frame": _between(metadata["frame"].float(), steps)}
        if "clip" in metadata:
            # There is nothing between two clips: each keeps its own until the next.
            path.metadata["clip"] = metadata["clip"][:-1].repeat_interleave(steps, 0)
            one = (metadata["clip"][:-1] == metadata["clip"][1:]).repeat_interleave(steps, 0)
            first = metadata["frame"][:-1].float().repeat_interleave(steps, 0)
            path.metadata["frame"] = path.metadata["frame"].where(one, first)
        return path

    path_with_frames.keeps_frames = True  # type: ignore[attr-defined]
    camera_paths.get_interpolated_camera_path = path_with_frames
    # The command has imported it by now, as a module of its own or as the program.
    for name in ("nerfstudio.scripts.render", "__main__"):
        command = sys.modules.get(name)
        if getattr(command, "get_interpolated_camera_path", None) is stock:
            command.get_interpolated_camera_path = path_with_frames  # type: ignore[union-attr]


def _between(values: Tensor, steps: int) -> Tensor:
    """Rows between each two neighbours, both included, as nerfstudio interpolates poses."""
    import torch

    share = torch.linspace(0, 1, steps, device=values.device)[None, :, None]
    return torch.lerp(values[:-1, None], values[1:, None], share).flatten(0, 1)
