"""A ball of two parts, whose poses pictures show well, and a network that draws it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nerfstudio_avatars.methods import unsup_volanim_tiny
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_seeds import voxel_places

PARTS = 2


def two_part_network() -> VolumetricAnimation:
    """Composes the parts of cubes that it is given."""
    config = replace(unsup_volanim_tiny.config.pipeline.model.network, parts=PARTS)
    config.render = replace(config.render, skinning="compose")
    torch.manual_seed(0)
    network = VolumetricAnimation(config, 1)
    network.articulate()
    return network


def striped_ball() -> Tensor:
    """A ball in coloured stripes, whose lower half is a part of its own: (parts and 4, n, n, n)."""
    n = 24
    x, y, z = voxel_places(n, torch.device("cpu")).unbind(-1)
    cube = torch.zeros(PARTS + 4, n, n, n)
    cube[0], cube[1] = -20 * y, 20 * y
    stripes = [0.5 + 0.4 * torch.sin(8 * axis + shift) for axis, shift in ((x, 0.0), (y + x, 1.0), (z - x, 2.0))]
    cube[2:5], cube[5] = torch.stack(stripes), 60 * (0.6 - (x**2 + y**2 + z**2).sqrt())
    return cube
