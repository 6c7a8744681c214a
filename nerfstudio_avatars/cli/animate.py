"""`ns-avatar animate`: a trained person in a motion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nerfstudio_avatars.cli.errors import UserError
from nerfstudio_avatars.cli.motion import Up

if TYPE_CHECKING:
    import numpy as np
    from nerfstudio.cameras.cameras import Cameras

    from nerfstudio_avatars.bodies.body_model import BodyState
    from nerfstudio_avatars.cli.run_config import LoadedRun


HELD_SECONDS = 6.0
"""Length of a shot of a held pose, where none is given."""


@dataclass
class Shot:
    """What is filmed, and how."""

    motion: str = "walk"
    """A shipped motion (walk, run, dance_a, cartwheel, spinkick, crawl), an .npz file, `training` for the person's own
    video, or `still` for its first pose, held."""
    camera: Literal["still", "turning"] = "still"
    """`turning` walks once around the person."""
    seconds: float | None = None
    """Length of the video; the motion repeats or is cut. Default: the motion once, or 6 s around a held pose."""
    fps: int = 24
    """Frames a second."""
    height: int = 540
    """Pixels."""
    width: int = 540
    """Pixels."""
    azimuth: float = 0.0
    """Where the camera starts, degrees; 0 is before the person of the training video, 90 at +x."""
    elevation: float = 5.0
    """Height of the camera above the horizon, degrees."""
    speed: float = 1.0
    """Of the motion; 0.5 is slow motion."""
    up: Up = "auto"
    """Up axis of the motion file."""
    background: Literal["white", "black"] = "white"
    """Colour behind the person."""
    transparent: bool = False
    """RGBA pictures without a background; needs a folder as the output."""

    def check(self) -> None:
        """Raises `UserError` for a value that makes no picture."""
        for name in ("height", "width", "fps", "speed"):
            if getattr(self, name) <= 0:
                raise UserError(f"--{name} {getattr(self, name)}: expected a number above zero.")
        if self.seconds is not None and self.seconds <= 0:
            raise UserError(f"--seconds {self.seconds}: expected a number above zero.")
        if not abs(self.elevation) < 90:  # noqa: PLR2004
            raise UserError(f"--elevation {self.elevation}: expected degrees between -90 and 90.")


@dataclass(kw_only=True)
class Animate(Shot):
    """Renders a trained avatar in a motion, from a still or a turning camera, to an mp4 or to PNGs."""

    load_config: Path
    """The run's config.yml, or its folder."""
    output: Path = Path("renders/animation.mp4")
    """An .mp4 file, or a folder for PNGs."""
    trust: bool = False
    """Open the configuration even if it names things from outside nerfstudio and this package."""

    def run(self) -> None:
        """Renders with a progress bar that tells the time left."""
        from nerfstudio_avatars.cli.frame_writer import check_output
        from nerfstudio_avatars.cli.run_config import find_config, load_run

        self.check()
        check_output(self.output, self.transparent)
        config = find_config(self.load_config)
        count = film(load_run(config, self.trust), self, self.output)
        print(f"Rendered {count} frames of {self.motion!r}, {self.camera} camera: {self.output}")


def film(run: LoadedRun, shot: Shot, output: Path) -> int:
    """Renders a shot of a trained run into a video or a folder.

    Returns:
        The number of frames.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from nerfstudio_avatars.cli.frame_writer import FrameWriter

    count = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with FrameWriter(output, shot.fps) as writer, Progress(*columns, transient=True) as progress:
        task = progress.add_task(f"Rendering {shot.motion}", total=None)
        for total, frame in frames(run, shot):
            writer.write(frame)
            count += 1
            progress.update(task, total=total, completed=count)
    return count


def frames(run: LoadedRun, shot: Shot) -> Iterator[tuple[int, np.ndarray]]:
    """The pictures of a shot, 8 bits a channel, one by one, each with the total number."""
    import torch

    from nerfstudio_avatars.cli import camera_path
    from nerfstudio_avatars.cli.motion import choose_motion

    metadata = run.pipeline.datamanager.train_dataparser_outputs.metadata
    motion = choose_motion(shot.motion, metadata["body"], metadata["body_model"], shot.up)
    natural = (len(motion) - 1) / motion.fps / shot.speed or HELD_SECONDS
    total = max(round((shot.seconds or natural) * shot.fps), 1)
    states = [motion.at(moment) for moment in _moments(total, shot, natural)]

    joints = torch.stack([metadata["body_model"].pose(state).joints.detach().cpu() for state in states])
    middle = (joints.amin(dim=1) + joints.amax(dim=1)) / 2
    targets = torch.cat([joints[:, 0, :2], middle[:, 2:].mean(dim=0).expand(total, 1)], dim=-1)
    turn = torch.arange(total) / total * 2 * math.pi if shot.camera == "turning" else torch.zeros(total)
    views = camera_path.orbit(targets, turn + math.radians(shot.azimuth), math.radians(shot.elevation))
    focal = camera_path.focal_length(camera_path.reach(joints, targets), shot.height, shot.width)
    cameras = camera_path.cameras(views, focal, shot.height, shot.width)
    for index, state in enumerate(states):
        yield total, _picture(run, cameras[index : index + 1], state, shot)


def _moments(total: int, shot: Shot, natural: float) -> list[float]:
    """The share of the motion, in [0, 1), at which each frame lies."""
    return [(index / shot.fps / natural) % 1.0 for index in range(total)]


def _picture(run: LoadedRun, camera: Cameras, state: BodyState, shot: Shot) -> np.ndarray:
    import torch

    outputs = run.pipeline.model.render_state(camera, state)
    premultiplied, alpha = outputs["premultiplied"], outputs["accumulation"]
    if shot.transparent:
        image = torch.cat([premultiplied / alpha.clamp(min=1e-6), alpha], dim=-1)
    else:
        image = premultiplied + (1 - alpha) * float(shot.background == "white")
    return (image.clamp(0, 1) * 255).round().byte().cpu().numpy()
