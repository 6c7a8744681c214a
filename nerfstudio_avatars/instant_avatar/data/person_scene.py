"""A recording of one person in the world frame: metres, z up, the median pelvis at the origin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import PosedBody
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.bodies.smpl import SmplBody
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.frame_source import FrameSource
from nerfstudio_avatars.instant_avatar.data.prepared_pictures import PreparedPictures
from nerfstudio_avatars.instant_avatar.data.recording import Recording
from nerfstudio_avatars.instant_avatar.data.vertical import body_axes, plumb_line

UPRIGHT = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, -1.0, 0.0))
"""OpenCV's axes (y down, z forward) -> z up. The camera stands at +y and looks towards -y: `ns-render spiral` takes the
camera's backward axis for the upward one of its own frame, which is right only so."""
BOX_MARGIN = 0.25
"""Metres around the posed bodies: hair, shoes, clothes."""
LEAST_SIDE = 16
"""Pixels of the shrunk pictures, below which nothing can be learned."""
POSES = 48
"""Frames whose posed bodies bound the scene and tell the vertical."""


@dataclass(frozen=True)
class Scene:
    """A recording, seen from the world frame."""

    recording: Recording
    motion: BodySequence
    body: SmplBody
    box: SceneBox
    pictures: FrameSource
    camera_to_worlds: Tensor
    intrinsics: Tensor
    """fx, fy, cx, cy of every frame, in nerfstudio's convention: the centre of the first pixel is (0.5, 0.5)."""

    def cameras(self, frames: list[int]) -> Cameras:
        """float32 throughout, because `ns-render spiral` mixes the intrinsics with float32."""
        index = torch.tensor(frames)
        fx, fy, cx, cy = self.intrinsics[index].split(1, -1)
        return Cameras(
            camera_to_worlds=self.camera_to_worlds[index],
            fx=fx,
            fy=fy,
            cx=cx,
            cy=cy,
            width=self.pictures.width,
            height=self.pictures.height,
            camera_type=CameraType.PERSPECTIVE,
            times=(index / max(len(self.motion) - 1, 1))[:, None].float(),
            metadata={"frame": index[:, None]},
        )

    def outputs(self, split: str, groups: list[str]) -> DataparserOutputs:
        """What nerfstudio is given of one split.

        Args:
            split: `train`, `val` or `test`.
            groups: for each of its frames, under which name `ns-avatar evaluate` counts it.
        """
        recording = self.recording
        frames = recording.splits[split]
        clip = recording.folder / recording.subject
        return DataparserOutputs(
            image_filenames=[clip / f"{frame:06d}.png" for frame in frames],
            cameras=self.cameras(frames),
            alpha_color=torch.ones(3),
            scene_box=self.box,
            metadata={
                "body": self.motion,
                "body_model": self.body,
                "frames": self.pictures,
                "frame_ids": torch.tensor(frames),
                "train_frames": torch.tensor(recording.splits["train"]),
                "group": groups,
            },
        )


def build_scene(
    recording: Recording,
    motion: BodySequence,
    body: SmplBody,
    *,
    downscale_factor: float = 1,
    decontaminate_edges: bool = True,
    half_pixel: Literal["correct", "reference"] = "correct",
) -> Scene:
    """Turns a recording upright around the median pelvis.

    Args:
        recording: in the files' own world. Its first camera counts as level, unless a person who turns around shows
            otherwise (`plumb_line`).
        motion: of the recording, with the gender and body that were chosen.
        body: poses the motion.
        downscale_factor: pictures are shrunk by it.
        decontaminate_edges: clean the silhouettes of the training pictures.
        half_pixel: `reference` repeats InstantAvatar's rays through pixel corners.

    Raises:
        DataError: if `downscale_factor` enlarges pictures or leaves too little of them.
    """
    height, width = _picture_size(recording, downscale_factor)
    pelvis_rest = body.rest(motion.betas)[1][0].detach()
    frames = torch.linspace(0, len(motion) - 1, min(len(motion), POSES)).round().long().unique().tolist()
    with torch.no_grad():
        posed = [body.pose(motion.state(frame)) for frame in frames]
    rotation = _upright(recording, posed)
    shift = -(motion.pelvis(pelvis_rest).double() @ rotation.T).median(0).values
    motion = motion.in_frame(rotation.float(), shift.float(), pelvis_rest)
    to_camera = torch.from_numpy(np.array(recording.extrinsics))
    turned = to_camera[:, :3, :3] @ rotation.T
    centre = -(to_camera[:, :3, :3].mT @ to_camera[:, :3, 3:])[..., 0] @ rotation.T + shift
    # OpenCV's camera looks along z with y down; nerfstudio's (OpenGL) along -z with y up.
    axes = turned.mT * torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
    prepared = PreparedPictures(
        recording.read, height, width, recording.folder, frozenset(recording.splits["train"]), decontaminate_edges
    )
    return Scene(
        recording=recording,
        motion=motion,
        body=body,
        box=_box(torch.cat([one.vertices for one in posed]) @ rotation.float().T + shift.float()),
        pictures=FrameSource(prepared, height, width),
        camera_to_worlds=torch.cat([axes, centre[..., None]], -1).float(),
        intrinsics=_intrinsics(recording, height, width, half_pixel),
    )


def _picture_size(recording: Recording, downscale_factor: float) -> tuple[int, int]:
    """Height and width of the shrunk pictures."""
    shown, fix = f"a factor of {downscale_factor}", "give another --downscale-factor; 1 takes the pictures as they are"
    if not 1 <= downscale_factor < math.inf:
        raise DataError("--downscale-factor", shown, "1 or more: pictures are shrunk by it", fix)
    height, width = (round(size / downscale_factor) for size in (recording.height, recording.width))
    if min(height, width) < LEAST_SIDE:
        found = f"{shown}: {recording.width}x{recording.height} pixels become {width}x{height}"
        raise DataError("--downscale-factor", found, f"at least {LEAST_SIDE} pixels a side", fix)
    return height, width


def _upright(recording: Recording, posed: list[PosedBody]) -> Tensor:
    """Rotation of the files' own world, whatever it is, into one with z up."""
    first = torch.from_numpy(np.array(recording.extrinsics[0]))
    by_camera = torch.tensor(UPRIGHT, dtype=torch.float64) @ first[:3, :3]
    up, facing = body_axes(posed)
    vertical = plumb_line(up.double() @ by_camera.T, facing.double() @ by_camera.T)
    # The shortest turn that takes the vertical to +z.
    axis = torch.linalg.cross(vertical, vertical.new_tensor([0.0, 0.0, 1.0]))
    angle = torch.atan2(axis.norm(), vertical[2])
    return axis_angle_to_matrix(F.normalize(axis, dim=0) * angle) @ by_camera


def _intrinsics(recording: Recording, height: int, width: int, half_pixel: str) -> Tensor:
    matrices = torch.from_numpy(np.array(recording.intrinsics))
    scale = torch.tensor([width / recording.width, height / recording.height], dtype=torch.float64)
    focal = matrices[:, [0, 1], [0, 1]] * scale
    centre = matrices[:, :2, 2]
    # nerfstudio's rays pass through x + 0.5; the original's through x, with the halved OpenCV centre.
    centre = (centre + 0.5) * scale if half_pixel == "correct" else centre * scale + 0.5
    return torch.cat([focal, centre], -1).float()


def _box(points: Float[Tensor, "points 3"]) -> SceneBox:
    return SceneBox(torch.stack([points.amin(0) - BOX_MARGIN, points.amax(0) + BOX_MARGIN]))
