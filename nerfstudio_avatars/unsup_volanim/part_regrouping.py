"""Merges parts that move most alike, and splits those that move far in their place (part of `unsup-volanim`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable
from nerfstudio_avatars.unsup_volanim.part_seeds import part_middles, voxel_places
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

_KEPT = 0.6
"""Share of the parts that are left after merging."""
_NOTHING = -30.0
"""Logit of a part that there is no more."""
_SHARPNESS, _REACH = 60.0, 1.2
"""Factor on squared distances in half pictures between the pieces of a part, and how far the outer ones lie from its
middle, in standard deviations."""
_AVERAGED = 32
"""Maximum number of identities in whose mean shape parts are looked at."""


@dataclass
class _Parts:
    middles: Float[Tensor, "parts 3"]
    shares: Float[Tensor, " parts"]
    spreads: Float[Tensor, "parts 3 3"]
    """Covariances of the places in each part."""


@torch.no_grad()
def regroup_parts(network: VolumetricAnimation, table: PartPoseTable, split: bool) -> None:
    """Merges the parts that move most alike, and splits the rest into as many as before.

    Cells begin evenly spread over an object, so most lie in what is rigid, and few in limbs. Pieces begin with the
    poses of the part that they were.

    Args:
        split: whether to split; otherwise parts stay empty.
    """
    assert network.shared_logits is not None, "`AnimationScheduleConfig.check`"
    rows = table.visited_rows()
    if not len(rows):
        return
    logits = (network.shared_logits * network.config.shared_parts).log_softmax(0)
    poses = table.parts(rows)
    free = _merge(logits, poses, _look(network))
    network.shared_logits.copy_(logits / network.config.shared_parts)
    source = list(range(len(logits)))
    if split:
        source = _split(logits, table.whole(rows).inverse().after(poses), _look(network), free, network)
        network.shared_logits.copy_(logits / network.config.shared_parts)
    every = torch.arange(len(table.rotation), device=rows.device)
    parts = table.parts(every)
    table.place(every, PartPoses(parts.rotation[:, source], parts.translation[:, source]))
    table.squares[:, 1:] = table.squares[:, 1:][:, source]


def _merge(logits: Float[Tensor, "parts n n n"], poses: PartPoses, found: _Parts) -> list[int]:
    """Merges pairs in the logits, the most alike first.

    Returns:
        Numbers of the parts that there are no more.
    """
    middles, shares, free = found.middles.clone(), found.shares.clone(), list[int]()
    while len(free) < round((1 - _KEPT) * len(shares)):
        # As in Ward's method, but between it and one that does not look at sizes: limbs are small, and move far.
        both = shares[:, None] * shares / (shares[:, None] + shares + 1e-9)
        cost = _apart(poses, middles) * both.sqrt()
        cost.fill_diagonal_(torch.inf)
        cost[free], cost[:, free] = torch.inf, torch.inf
        pair = divmod(int(cost.argmin()), len(shares))
        kept, gone = sorted(pair, key=lambda part: -float(shares[part]))
        logits[kept], logits[gone] = torch.logaddexp(logits[kept], logits[gone]), _NOTHING
        middles[kept] = torch.lerp(middles[kept], middles[gone], shares[gone] / (shares[kept] + shares[gone] + 1e-9))
        shares[kept], shares[gone] = shares[kept] + shares[gone], 0
        free.append(gone)
    return free


def _split(
    logits: Float[Tensor, "parts n n n"],
    within: PartPoses,
    found: _Parts,
    free: list[int],
    network: VolumetricAnimation,
) -> list[int]:
    """Splits parts along their longest axis: those that move far, and large ones.

    Returns:
        For each part, the number of the one that it was a piece of.
    """
    worth = _how_far(within, found) * found.shares.sqrt()
    pieces = {part: [part] for part in range(len(logits)) if part not in free}
    for new in free:
        most = max(pieces, key=lambda part: float(worth[part]) / len(pieces[part]))
        pieces[most].append(new)
    places = voxel_places(logits.shape[-1], logits.device) * network.scene * network.config.render.enlarge
    source = list(range(len(logits)))
    for part, numbers in pieces.items():
        if len(numbers) == 1:
            continue
        values, axes = torch.linalg.eigh(found.spreads[part])
        steps = torch.linspace(-_REACH, _REACH, len(numbers), device=values.device)[:, None]
        centres = found.middles[part] + steps * values[-1].clamp_min(0).sqrt() * axes[:, -1]
        cells = (-_SHARPNESS * (places[..., None, :] - centres).square().sum(-1)).log_softmax(-1)
        logits[numbers] = logits[part] + cells.movedim(-1, 0)
        for number in numbers:
            source[number] = part
    return source


def _look(network: VolumetricAnimation) -> _Parts:
    extents = network.scene * network.config.render.enlarge
    with network.evaluating():
        numbers = torch.arange(min(network.identities, _AVERAGED), device=network.prior.device)
        cubes = torch.cat([network.cubes(number[None]) for number in numbers])
    middles, shares = part_middles(cubes, extents)
    solid = F.relu(cubes[:, -1:])
    mass = cubes[:, : network.parts].softmax(1) * solid / solid.sum((2, 3, 4), keepdim=True).clamp_min(1e-6)
    mass = mass.mean(0).flatten(1)
    away = voxel_places(cubes.shape[-1], cubes.device).flatten(0, 2) * extents - middles[:, None]
    spreads = torch.einsum("pn,pni,pnj->pij", mass, away, away) / mass.sum(1)[:, None, None].clamp_min(1e-9)
    return _Parts(middles, shares, spreads)


def _apart(poses: PartPoses, middles: Float[Tensor, "parts 3"]) -> Float[Tensor, "parts parts"]:
    """Mean square over frames of how far two parts carry the middle of either apart, in the picture."""
    # (frames, carried by, middle of, 3)
    placed = (poses.rotation[:, :, None] @ middles[None, None, :, :, None])[..., 0] + poses.translation[:, :, None]
    own = placed.diagonal(dim1=1, dim2=2).mT
    off = (placed - own[:, None])[..., :2].square().sum(-1).mean(0)
    return torch.maximum(off, off.mT)


def _how_far(within: PartPoses, found: _Parts) -> Float[Tensor, " parts"]:
    """Root mean square of motions against their mean, over frames and places in each part."""
    placed = (within.rotation @ found.middles[..., None])[..., 0] + within.translation
    turned = within.rotation - within.rotation.mean(0)
    around = torch.einsum("fpij,pjk,fpik->p", turned, found.spreads, turned) / len(turned)
    return ((placed - placed.mean(0)).square().sum(-1).mean(0) + around).sqrt()
