"""Fits the pose of a held-out frame to its image with the avatar frozen: the original evaluation protocol.

This uses test pixels, so its figures have names of their own and never replace others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.instant_avatar.avatar import CanonicalAvatar
from nerfstudio_avatars.instant_avatar.poses.pose_table import BodyPoseTable
from nerfstudio_avatars.instant_avatar.rendering.compositing import over


@dataclass
class PoseRefinementConfig:
    """Options for fitting a held-out pose to its image."""

    steps: int = 20
    """Number of Adam steps to take for each picture; with 0, no pose is fitted."""
    rays: int = 1500
    """Number of rays to render in each step, in and around the body."""
    lr: float = 4e-3
    """Learning rate to start with, in radians and metres; it falls to a tenth."""
    reach: int = 6
    """Distance in pixels around the mask within which rays are sampled."""


def refine_pose(
    avatar: CanonicalAvatar,
    poses: BodyPoseTable,
    start: BodyState,
    rays: tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w 3"]],
    truth: Float[Tensor, "h w 4"],
    config: PoseRefinementConfig,
) -> BodyState:
    """Refines a pose so that the avatar looks most like the picture.

    Args:
        start: the initial pose, whose betas are kept.
        rays: origins and unit directions of the pixels.
        truth: the true picture, as straight colour and mask.
    """
    size = 2 * config.reach + 1
    near = F.max_pool2d(truth[None, None, ..., 3], size, stride=1, padding=config.reach)[0, 0] > 0
    pixels = near.flatten().nonzero()[:, 0]
    if len(pixels) == 0:
        return start
    origins, directions, target = (x.reshape(-1, x.shape[-1])[pixels] for x in (*rays, truth))
    device = start.transl.device
    generator = torch.Generator(device=device).manual_seed(0)
    moving = start.packed().detach()[None].clone().requires_grad_()
    adam = torch.optim.Adam([moving], lr=config.lr, betas=(0.9, 0.99))
    with _frozen(avatar), _frozen(poses), torch.enable_grad():
        for step in range(config.steps):
            adam.param_groups[0]["lr"] = config.lr * 0.1 ** (step / config.steps)
            pick = torch.randint(len(pixels), (config.rays,), generator=generator, device=device)
            posed = avatar.pose(poses.transforms(moving)[0])
            jitter = torch.rand(config.rays, generator=generator, device=device)
            seen = avatar.render(origins[pick], directions[pick], jitter, [(slice(0, config.rays), posed)])
            mask = target[pick, 3:]
            background = torch.rand(config.rays, 3, generator=generator, device=device)
            prediction = over(seen.premultiplied, seen.accumulation, background)
            loss = F.huber_loss(prediction, over(target[pick, :3] * mask, mask, background), delta=0.1) / 0.1
            loss = loss + 0.1 * F.mse_loss(seen.accumulation, mask)
            adam.zero_grad()
            loss.backward()
            adam.step()
    return BodyState.unpacked(start.betas, moving.detach()[0])


@contextlib.contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    learning = [p for p in module.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
