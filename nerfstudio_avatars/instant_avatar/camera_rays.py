"""Rays of nerfstudio's cameras."""

from __future__ import annotations

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from nerfstudio_avatars.pinhole import pinhole_rays


def camera_rays(camera: Cameras) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w 3"]]:
    """Origins and unit directions of the pixels of one camera."""
    distortion = camera.distortion_params
    bent = distortion is not None and bool(distortion.any())
    if bent or int(camera.camera_type.flatten()[0]) != CameraType.PERSPECTIVE.value:
        # Fisheyes, panoramas, lens distortion: nerfstudio knows them all. Without the metadata, which it would copy to
        # every pixel.
        bare = Cameras(
            camera.camera_to_worlds, camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height,
            distortion, camera.camera_type,
        )  # fmt: skip
        rays = bare.generate_rays(camera_indices=0, keep_shape=True)
        return rays.origins, rays.directions
    focal, centre = torch.cat([camera.fx, camera.fy], -1), torch.cat([camera.cx, camera.cy], -1)
    size = int(camera.height.flatten()[0]), int(camera.width.flatten()[0])
    pose = camera.camera_to_worlds.reshape(-1, 3, 4)[0]
    return pinhole_rays(pose, focal.reshape(-1, 2)[0], centre.reshape(-1, 2)[0], *size)
