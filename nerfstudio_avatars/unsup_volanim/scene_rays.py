"""Rays of nerfstudio's cameras in the axes of the scene: x right, y down, z away from the standard camera."""

from __future__ import annotations

import torch
from nerfstudio.cameras.cameras import Cameras

from nerfstudio_avatars.pinhole import pinhole_rays
from nerfstudio_avatars.unsup_volanim.standard_camera import REACH
from nerfstudio_avatars.unsup_volanim.voxel_render import SceneRays

_WORLD_TO_SCENE = ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, -1.0, 0.0))
"""Rotation from nerfstudio's world (z up, the person faces +y) to the axes of the scene."""


def scene_rays(camera: Cameras) -> tuple[SceneRays, int, int]:
    """Rays of the pixels of a perspective camera, row by row, and the height and width of the picture.

    They run from in front of the middle of the object to behind it, along the camera axis.

    """
    height, width = int(camera.height.flatten()[0]), int(camera.width.flatten()[0])
    pose = camera.camera_to_worlds.reshape(-1, 3, 4)[0]
    focal = torch.cat([camera.fx.flatten()[:1], camera.fy.flatten()[:1]])
    centre = torch.cat([camera.cx.flatten()[:1], camera.cy.flatten()[:1]])
    origins, directions = pinhole_rays(pose, focal, centre, height, width)
    forward = -pose[:, 2]
    to_scene = torch.tensor(_WORLD_TO_SCENE, device=pose.device)
    along = (directions @ forward)[..., None]
    middle = -float(pose[:, 3] @ forward)
    # A viewer's camera may stand inside the scene, or look away from it; points behind it are not seen.
    far = max(middle + REACH, 2e-2)
    return (
        SceneRays(
            (origins @ to_scene.T).reshape(-1, 3),
            (directions / along @ to_scene.T).reshape(-1, 3),
            max(middle - REACH, 1e-2),
            far,
        ),
        height,
        width,
    )
