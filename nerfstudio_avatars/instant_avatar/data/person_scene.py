"""A recording of one person in the world frame: metres, z up, the median pelvis at the origin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import PosedBody
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.bodies.smpl import SmplBody
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.consistency import checked
from nerfstudio_avatars.instant_avatar.data.frame_source import FrameSource
from nerfstudio_avatars.instant_avatar.data.loose_clothes import reach_of_masks
from nerfstudio_avatars.instant_avatar.data.prepared_pictures import PreparedPictures
from nerfstudio_avatars.instant_avatar.data.recording import Recording
from nerfstudio_avatars.instant_avatar.data.vertical import body_axes, plumb_line
from nerfstudio_avatars.instant_avatar.person import Person, frame_cameras, video_frames

UPRIGHT = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, -1.0, 0.0))
"""OpenCV's axes (y down, z forward) to z up. The camera is at +y and looks towards -y, because `ns-render spiral` uses
the camera's backward axis as the upward one of its own frame."""
_BOX_MARGIN = 0.25
"""Margin in metres around the posed bodies, for hair, shoes and clothes."""
LEAST_SIDE = 16
"""Smallest side in pixels of the shrunk pictures that can be trained on."""
POSES = 48
"""Number of frames whose posed bodies decide the bounds of the scene and the vertical."""


@dataclass(frozen=True)
class SplitPictures:
    """The pictures of one split, which only data sets use."""

    source: FrameSource
    frames: tuple[int, ...]
    """Frame ids, one for each camera of the split."""
    groups: tuple[str, ...]
    """The group that `ns-avatar evaluate` counts each frame in."""

    def __deepcopy__(self, memo: dict) -> SplitPictures:
        # nerfstudio deep-copies a dataparser's metadata; the pictures must not double.
        return self

    def load(self) -> UInt8[Tensor, "images height width 4"]:
        """Loads all of them, as straight colour and mask. The tensor is shared and must not be written to."""
        return self.source.load(self.frames)


@dataclass(frozen=True)
class Scene:
    """A recording, seen from the world frame."""

    recording: Recording
    person: Person
    pictures: FrameSource
    camera_to_worlds: Tensor
    intrinsics: Tensor
    """fx, fy, cx, cy of every frame, in nerfstudio's convention: the centre of the first pixel is (0.5, 0.5)."""

    def tell(self) -> Scene:
        """Prints what was dropped, guessed or is odd."""
        for note in self.recording.notes:
            CONSOLE.print(f"{self.recording.folder}: {note}.", markup=False)
        return self

    def outputs(self, split: str, groups: list[str]) -> DataparserOutputs:
        """What nerfstudio is given of one split: `metadata["person"]`, a `Person`, is for the model, and
        `metadata["pictures"]`, a `SplitPictures`, for the data set.

        Args:
            split: `train`, `val` or `test`.
            groups: the group that `ns-avatar evaluate` counts each of its frames in.
        """
        frames = self.recording.splits[split]
        clip = self.recording.folder / self.recording.subject
        size = self.pictures.height, self.pictures.width
        return DataparserOutputs(
            image_filenames=[clip / f"{frame:06d}.png" for frame in frames],
            cameras=_cameras(self.person.video_frames, self.camera_to_worlds, self.intrinsics, frames, size),
            alpha_color=torch.ones(3),
            scene_box=self.person.box,
            metadata={
                "person": self.person,
                "pictures": SplitPictures(self.pictures, tuple(frames), tuple(groups)),
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
    """Rotates a recording upright about the median pelvis.

    Args:
        recording: in the world of its files. Its first camera counts as level, unless a person who turns around shows
            otherwise (`plumb_line`).
        motion: the motion of the recording, with the chosen gender and body.
        body: poses the motion.
        downscale_factor: the factor to shrink pictures by.
        decontaminate_edges: whether to clean the silhouettes of training pictures.
        half_pixel: `reference` sends rays through pixel corners, as InstantAvatar does.

    Raises:
        DataError: if `downscale_factor` enlarges pictures or leaves too little of them, or if poses, masks and cameras
            cannot belong together (`consistency`).
    """
    height, width = _picture_size(recording, downscale_factor)
    recording = checked(recording, motion, body)
    reach = reach_of_masks(recording, motion, body)
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
    camera_to_worlds = torch.cat([axes, centre[..., None]], -1).float()
    intrinsics = _intrinsics(recording, height, width, half_pixel)
    trained = torch.tensor(recording.splits["train"])
    person = Person(
        motion=motion,
        body=body,
        train_frames=trained,
        box=_box(torch.cat([one.vertices for one in posed]) @ rotation.float().T + shift.float()),
        cameras=_cameras(video_frames(trained), camera_to_worlds, intrinsics, trained, (height, width)),
        reach=reach,
    )
    return Scene(recording, person, FrameSource(prepared, height, width), camera_to_worlds, intrinsics)


def _cameras(
    video: range,
    camera_to_worlds: Float[Tensor, "frames 3 4"],
    intrinsics: Float[Tensor, "frames 4"],
    frames: Sequence[int] | Int[Tensor, " images"],
    size: tuple[int, int],
) -> Cameras:
    index = torch.as_tensor(frames)
    fx, fy, cx, cy = intrinsics[index].split(1, -1)
    return frame_cameras(
        video,
        index,
        camera_to_worlds=camera_to_worlds[index],
        fx=fx,
        fy=fy,
        cx=cx,
        cy=cy,
        height=size[0],
        width=size[1],
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
    """Rotation from the world of the files to one with z up."""
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
    return SceneBox(torch.stack([points.amin(0) - _BOX_MARGIN, points.amax(0) + _BOX_MARGIN]))
