"""Held-out pictures of a person: rendered in up to three poses, and compared with the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.instant_avatar.avatar import CanonicalAvatar
from nerfstudio_avatars.instant_avatar.camera_rays import camera_rays
from nerfstudio_avatars.instant_avatar.poses.pose_refinement import PoseRefinementConfig, refine_pose
from nerfstudio_avatars.instant_avatar.poses.pose_table import BodyPoseTable
from nerfstudio_avatars.metrics.image import image_metrics

__all__ = ["HeldOutCamera", "held_out_figures"]


@dataclass(frozen=True)
class HeldOutCamera:
    """The camera of a held-out picture, and what it takes to render the person there."""

    camera: Cameras
    """Its `frame` is in the metadata."""
    avatar: CanonicalAvatar
    poses: BodyPoseTable
    render: Callable[[Cameras, BodyState], dict[str, Tensor]]
    """Renders a camera with the body in a pose."""

    def in_each_pose(
        self,
        neighbours: dict[str, Tensor],
        truth: Float[Tensor, "height width 4"],
        refinement: PoseRefinementConfig | None,
    ) -> dict[str, dict[str, Tensor]]:
        """Renders the picture in several poses of its frame.

        Args:
            neighbours: the picture in the pose that neighbouring training frames tell.
            truth: straight colours, and the mask.
            refinement: how to fit the pose to the truth; None does not fit it.

        Returns:
            `given`: in the pose that the data have. `neighbours`: as handed in, which uses no test pixel. `refined`: in
            the pose fitted to the test image itself, as in the paper.
        """
        frame = int(self.camera.metadata["frame"].flatten()[0])
        given = self.render(self.camera, self.poses.state(frame, corrected=False))
        pictures = {"given": given, "neighbours": neighbours}
        if refinement is not None:
            rays = camera_rays(self.camera.to(truth.device))
            pose = refine_pose(self.avatar, self.poses, self.poses.state(frame), rays, truth, refinement)
            pictures["refined"] = self.render(self.camera, pose)
        return pictures


def held_out_figures(
    pictures: dict[str, dict[str, Tensor]], truth: Float[Tensor, "height width 4"], behind: Float[Tensor, "3"]
) -> dict[str, float]:
    """Compares pictures with the truth, on white and on black.

    Args:
        pictures: outputs of the model, by the name of their pose.
        truth: straight colours, and the mask.
        behind: the colour behind the person in the pictures, which is replaced.

    Returns:
        Figures named by pose, measure, pixels and background, such as `given_psnr_white` and `refined_ssim_box_black`;
        see `metrics.image`.
    """
    figures = {}
    for name, seen in pictures.items():
        for background in ("white", "black"):
            colour = torch.full((3,), float(background == "white"), device=truth.device)
            prediction = seen["rgb"] + (1 - seen["accumulation"]) * (colour - behind)
            measured = image_metrics(prediction, truth, background)
            figures.update({f"{name}_{measure}": value for measure, value in measured.items()})
    return figures
