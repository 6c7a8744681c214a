"""Finds somebody new in seconds: the mean of those who are known, whose voxels and poses are then fitted together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.unsup_volanim.inversion import (
    IdentityInversionConfig,
    InvertedIdentity,
    Perceptual,
    PictureFit,
    background_behind,
)
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, PartPoseTableConfig
from nerfstudio_avatars.unsup_volanim.part_seeds import part_middles
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_field import COLOURS, DENSITIES
from nerfstudio_avatars.unsup_volanim.voxel_render import SLAB

_AVERAGED = 24
"""Maximum number of known identities to average."""
_POSES = PartPoseTableConfig(turn_rate=0.04, shift_rate=0.02, final_share=0.3)
_RATE, _DENSITY_RATE = 0.03, 0.09
"""Sizes of the steps of colours and densities."""
_SEEN = 0.01
"""Gradient of a density, over that of a voxel that is alone in a pixel, below which steps get smaller. Otherwise, fog
grows behind the object, where no picture looks."""
_BETAS = (0.8, 0.95)
_FINAL = 0.1
"""Share of the step sizes that is left in the last round; they begin to shrink after half of the rounds."""


def invert_in_rounds(
    network: VolumetricAnimation,
    pictures: Float[Tensor, "pictures 3 size size"],
    config: IdentityInversionConfig,
    perceptual: Perceptual | None = None,
    progress: Callable[[int, int], None] | None = None,
    masks: Float[Tensor, "pictures 1 size size"] | None = None,
) -> InvertedIdentity:
    """Fits an identity in `config.rounds` steps; the network itself is not changed. For its arguments, see
    `invert_identity`.

    It begins with the mean cube of known identities, in front of the background of the pictures. Each round then takes
    a step in its voxels, and one in the poses that the detector has found: these err, more so with somebody who looks
    like nobody known, and voxels that are fitted in wrong poses are wrong in all others.
    """
    with network.evaluating():
        with torch.no_grad():
            found = network.estimate(pictures)
        start, code = _mean_of_known(network)
        middles = part_middles(start, network.scene * network.config.render.enlarge)[0]
        poses = _LearntPoses(PartPoseTable.holding(found, _POSES), middles)
        fit = PictureFit(network, pictures, config, perceptual, masks, poses, jitter=True)
        fit.remember_object(start)
        assert fit.object is not None
        start = _before_background(network, start, background_behind(fit.pictures, fit.object))
        errors = {"start": fit.error(start)}
        colours = torch.zeros_like(start[:, -COLOURS - DENSITIES : -DENSITIES]).requires_grad_()
        density = torch.zeros_like(start[:, -DENSITIES:]).requires_grad_()
        groups = [{"params": [colours]}, {"params": [density], "eps": _SEEN / start[0, 0].numel() ** (2 / 3)}]
        optimizer = torch.optim.Adam(groups, betas=_BETAS)
        for done in range(config.rounds):
            poses.share = done / config.rounds
            for group, rate in zip(optimizer.param_groups, (_RATE, _DENSITY_RATE), strict=True):
                group["lr"] = rate * _FINAL ** max(0.0, 2 * poses.share - 1)
            loss = fit.loss(_changed(start, colours, density), pyramid=1.0, mask=1.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if progress:
                progress(done + 1, config.rounds)
        cube = _changed(start, colours, density).detach()
        errors["tuned"] = fit.error(cube)
    first = poses.table.parts(torch.zeros(1, dtype=torch.long, device=cube.device))
    return InvertedIdentity(code, cube[0], first, errors, network.fingerprint())


@dataclass
class _LearntPoses:
    """Poses in pictures, in which each gradient takes a step."""

    table: PartPoseTable
    middles: Float[Tensor, "parts 3"]
    share: float = 0.0
    """Of the rounds that has passed."""

    def __call__(self, _: Tensor, numbers: Tensor) -> PartPoses:
        return self.table.learning(numbers, self.middles, self.share)


def _changed(start: Tensor, colours: Tensor, density: Tensor) -> Tensor:
    """A cube with a volume of its own on top."""
    own = torch.cat([colours, density], 1)
    logits, seen = start.split([start.shape[1] - own.shape[1], own.shape[1]], 1)
    return torch.cat([logits, seen + own], 1)


@torch.no_grad()
def _mean_of_known(
    network: VolumetricAnimation,
) -> tuple[Float[Tensor, "1 channels n n n"], Float[Tensor, " size"]]:
    """Mean cube and whitened code of identities that were trained on."""
    count = min(network.identities, _AVERAGED)
    chosen = torch.linspace(0, network.identities - 1, count).round().long().to(network.prior.device)
    cubes = torch.stack([network.cubes(one[None]) for one in chosen]).mean(0)
    return cubes, network.embedding(chosen).mean(0)


def _before_background(
    network: VolumetricAnimation,
    cube: Float[Tensor, "1 channels n n n"],
    background: Float[Tensor, "1 3 size size"],
) -> Float[Tensor, "1 channels n n n"]:
    """A cube with a picture behind it, if that is where its background is."""
    if network.config.render.background != "slab":
        return cube
    # The scene's far end is as wide as the picture there.
    side = cube.shape[-1]
    across = torch.linspace(-1, 1, side, device=cube.device) * network.config.render.enlarge
    places = torch.stack(torch.meshgrid(across, across, indexing="xy"), -1)[None]
    cube = cube.clone()
    cube[:, -COLOURS - DENSITIES : -DENSITIES, -SLAB:] = F.grid_sample(
        background, places, padding_mode="border", align_corners=False
    )[:, :, None]
    return cube
