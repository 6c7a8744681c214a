"""Closed-form rays against nerfstudio's own."""

import torch
from nerfstudio.cameras.cameras import Cameras

from nerfstudio_avatars.pinhole import pinhole_rays


def test_rays_are_nerfstudios():
    torch.manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(3, 3))[0]
    pose = torch.cat([rotation, torch.randn(3, 1)], -1)
    cameras = Cameras(pose[None], 70.0, 80.0, 33.0, 20.5, width=61, height=43)
    theirs = cameras.generate_rays(camera_indices=0)
    origins, directions = pinhole_rays(pose, torch.tensor([70.0, 80.0]), torch.tensor([33.0, 20.5]), 43, 61)
    torch.testing.assert_close(origins, theirs.origins)
    torch.testing.assert_close(directions, theirs.directions, atol=2e-7, rtol=0)
