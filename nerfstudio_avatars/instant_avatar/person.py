"""The person that a model learns: the one object that a dataparser hands to it, and that its checkpoint keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.bodies.smpl import load_body
from nerfstudio_avatars.bodies.smpl_body import SmplBody

_CAMERA = ("camera_to_worlds", "fx", "fy", "cx", "cy", "width", "height")


@dataclass(frozen=True)
class Person:
    """One person in the world frame: metres, z up, the median pelvis at the origin."""

    motion: BodySequence
    """Poses of all frames, including held-out ones, as in the data."""
    body: SmplBody
    """The body that the motion poses."""
    train_frames: Int[Tensor, " images"]
    """Frames to train on."""
    box: SceneBox
    """A box that contains the person in all frames."""
    cameras: Cameras
    """Cameras of the training frames, in order; `metadata["frame"]` is the frame of each."""
    reach: Float[Tensor, " vertices"] | None = None
    """Distance in metres that the masks usually reach beyond the naked body, at each of its vertices; None if nobody
    has looked."""

    @property
    def video_frames(self) -> range:
        """Frames of the video: from the first to the last that is trained on. Held-out poses may follow."""
        return video_frames(self.train_frames)

    def __deepcopy__(self, memo: dict) -> Person:
        # nerfstudio deep-copies a data set's metadata; nothing in here is ever changed.
        return self

    def state(self) -> dict[str, Any]:
        """Tensors, numbers and text for a checkpoint, from which `from_state` rebuilds the person.

        It only holds the name of the body, because files of SMPL may not be passed on.
        """
        cameras, motion = self.cameras, self.motion
        moved = {name: getattr(motion, name).cpu() for name in ("betas", "global_orient", "body_pose", "transl")}
        seen = {name: getattr(cameras, name).cpu() for name in _CAMERA}
        return {
            "motion": moved | {"fps": float(motion.fps), "gender": motion.gender, "body": motion.body},
            "body": self.body.name,
            "gender": self.body.gender,
            "train_frames": self.train_frames.cpu(),
            "box": self.box.aabb.cpu(),
            "cameras": seen,
            "reach": None if self.reach is None else self.reach.cpu(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Person:
        """Rebuilds the person from `state`.

        Raises:
            DataError: if the body is an SMPL file of the user that is not found.
        """
        frames = state["train_frames"]
        return cls(
            motion=BodySequence(**state["motion"]),
            body=load_body(state["body"], state["gender"]),
            train_frames=frames,
            box=SceneBox(state["box"]),
            cameras=frame_cameras(video_frames(frames), frames, **state["cameras"]),
            reach=state.get("reach"),
        )


def video_frames(train_frames: Int[Tensor, " images"]) -> range:
    """Frames from the first to the last of these."""
    return range(int(train_frames.min()), int(train_frames.max()) + 1)


def frame_cameras(video: range, frames: Int[Tensor, " images"], **cameras: Any) -> Cameras:
    """Cameras that know their frame in a motion. Their times run from 0 to 1 over the video.

    Args:
        video: frames of the video; held-out poses that follow it have the time of its end.
        frames: the frame of each camera.
        cameras: arguments of nerfstudio's cameras. All are float32, because `ns-render spiral` mixes intrinsics with
        them.
    """
    return Cameras(
        **cameras,
        camera_type=CameraType.PERSPECTIVE,
        times=((frames - video.start) / max(len(video) - 1, 1)).clamp(0, 1)[:, None].float(),
        metadata={"frame": frames[:, None]},
    )
