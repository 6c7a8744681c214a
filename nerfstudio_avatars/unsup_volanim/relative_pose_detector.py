"""Looks again at a picture that is set upright by the pose of the whole: corrects that pose, and finds how parts have
moved against it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import antialiased_resize, pixel_grid
from nerfstudio_avatars.unsup_volanim.standard_camera import DISTANCE, FOCAL
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

_SCALE = 0.3
"""Factor on the outputs, so that those of the first steps are small."""
_ZOOM = 0.9
"""Half width of the upright picture, in half pictures."""
_LIGHT, _TURN, _SHIFT = 0.1, (0.12, 0.16, 0.1), (0.04, 0.04, 0.2)
"""Maximum standard deviations of changes in what it learns from: of colours, and of the pose of the whole, in radians
and half pictures."""
_BELIEVED, _SUDDENLY = 5.0, 8
"""Size of a correction of the whole that is half believed, compared with those standard deviations, and how suddenly
belief ends there. Held-out frames of toys that were trained on ask for 2 at most; some of toys that were not, for 5 to
13, all wrong."""
_FOLLOWING = 0.05
"""Share of what is seen of the parts' middles in a step."""
_RADIUS, _WHOLE_RADIUS = 0.3, 0.5
"""Distance of the compared points from the middle of their part, and from that of the object, in half pictures."""
_FULL_SHARE = 0.03
"""Share of the object from which a part counts fully."""
_RIDGE = 0.01
"""What changes of the last layer cost where it is solved for, compared with the mean square of a feature."""
_TINY = 1e-9
"""The least that they cost, where features are all the same."""


@dataclass
class RelativePoseDetectorConfig:
    """Options of the network that corrects the pose of the whole object, and finds motions of parts against it."""

    input_size: int = 48
    """Side length in pixels of the square picture that the network is given."""
    widths: tuple[int, ...] = (16, 24, 32, 48)
    """Numbers of channels to use on the way down; each entry halves the resolution."""
    hidden: int = 192
    """Number of values that lie between the picture and the motions."""
    corrections: int = 1
    """Number of times to correct the pose of the whole, each time with the picture set upright by the last one.
    With 0, it stays as keypoints give it."""
    solved: bool = True
    """Whether the last layer is solved for at the end of a training, by least squares over many frames.
    Otherwise it stays as steps of a gradient leave it, which find all motions too small."""
    copies: int = 1
    """Number of changed copies of each picture that the network learns from in a step."""
    rehearsal: bool = True
    """Whether the network also learns from renderings of the identities in motions that others were seen in.
    Their poses are known exactly, while those found in pictures have errors, with which motions are found too small."""


class RelativePoseDetector(nn.Module):
    """Convolutions on an upright picture, and the rotation of the whole, give the motion of each part.

    The difference of two poses that keypoints give is far noisier than a motion read from what is seen of it.
    """

    grid: Tensor
    pivots: Tensor
    shares: Tensor

    def __init__(self, config: RelativePoseDetectorConfig, parts: int) -> None:
        super().__init__()
        self.config, self.parts = config, parts
        layers: list[nn.Module] = []
        for wide, narrow in zip((3, *config.widths[:-1]), config.widths, strict=True):
            layers += [nn.Conv2d(wide, narrow, 3, padding=1), nn.GroupNorm(math.gcd(narrow, 8), narrow), nn.ReLU()]
            layers.append(nn.AvgPool2d(2))
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        side = config.input_size // 2 ** len(config.widths)
        self.hidden = nn.Linear(config.widths[-1] * side**2 + 9, config.hidden)
        self.out = nn.Linear(config.hidden, (1 + parts) * 6)
        nn.init.normal_(self.out.weight, std=1e-2)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("grid", pixel_grid(config.input_size), persistent=False)
        self.register_buffer("pivots", torch.zeros(parts, 3))
        self.register_buffer("shares", torch.zeros(parts))

    @torch.no_grad()
    def follow(self, middles: Float[Tensor, "parts 3"], shares: Float[Tensor, " parts"]) -> None:
        """Notes where the parts' middles are, about which they turn, and their shares of the object."""
        known = bool(self.shares.any())
        self.pivots.lerp_(middles, _FOLLOWING if known else 1.0)
        self.shares.lerp_(shares, _FOLLOWING if known else 1.0)

    def forward(self, images: Float[Tensor, "frames 3 height width"], whole: PartPoses) -> PartPoses:
        """Poses of the parts (frames, parts), from those of the whole object (frames, 1) that keypoints give."""
        whole, belief = self._believed(images, whole)
        return self._moved(whole, belief * self._motions(self.features(images, whole))[:, 1:])

    def corrected(self, images: Float[Tensor, "frames 3 height width"], whole: PartPoses) -> PartPoses:
        """Poses of the whole object (frames, 1), from those that keypoints give."""
        return self._believed(images, whole)[0]

    def _believed(self, images: Tensor, whole: PartPoses) -> tuple[PartPoses, Float[Tensor, "frames 1 1"]]:
        """Corrected poses of the whole, and how far to believe what is seen: 1, or nearly 0 where a correction is far
        larger than any that was learnt from, as of somebody who looks like nobody known. Parts then stay together."""
        belief = torch.ones(len(images), 1, 1, device=images.device)
        for _ in range(self.config.corrections):
            motion = self._motions(self.features(images, whole))[:, :1]
            size = (motion / motion.new_tensor([*_TURN, *_SHIFT])).abs().amax(-1, keepdim=True)
            belief = torch.minimum(belief, 1 / (1 + (size / _BELIEVED) ** _SUDDENLY))
            whole = _corrected(whole, belief * motion)
        return whole, belief

    def features(
        self,
        images: Float[Tensor, "frames 3 height width"],
        whole: PartPoses,
        gain: Float[Tensor, "frames 3 1 1"] | float = 1.0,
    ) -> Float[Tensor, "frames hidden"]:
        """What is seen in pictures that poses of the whole object (frames, 1) set upright; the last layer reads it."""
        values = self.convolutions(set_upright(images, whole, self.grid) * gain - 0.5)
        return F.silu(self.hidden(torch.cat([values, whole.rotation.flatten(1)], 1)))

    @torch.no_grad()
    def solve(
        self,
        features: Float[Tensor, "frames hidden"],
        motions: Float[Tensor, "frames some 6"],
        weights: Float[Tensor, " frames"],
        of_whole: bool,
    ) -> None:
        """Solves for the last layer, so that it reads motions from features: ridge regression towards what it is now.

        Args:
            motions: in radians and half pictures, as `_motions` gives them.
            weights: of the frames.
            of_whole: whether they are those of the whole object away from its pose (some = 1), or those of the parts.
        """
        rows = slice(0, 6) if of_whole else slice(6, None)
        left = (motions.flatten(1) / _SCALE - self.out(features)[:, rows]).double()
        seen, share = features.double(), (weights / weights.sum()).double()[:, None]
        middle, off = (share * seen).sum(0), (share * left).sum(0)
        seen, left = seen - middle, left - off
        square = seen.mT @ (share * seen)
        square.diagonal().add_(_RIDGE * square.diagonal().mean() + _TINY)
        change = torch.linalg.solve(square, seen.mT @ (share * left)).mT
        self.out.weight[rows] += change.to(self.out.weight)
        self.out.bias[rows] += (off - change @ middle).to(self.out.bias)

    def loss(
        self, images: Float[Tensor, "frames 3 height width"], whole: PartPoses, true: PartPoses
    ) -> Float[Tensor, ""]:
        """Mean distance of points from where they truly are: of the object, whose pose is given with errors, and of the
        parts, were that pose right.

        Parts count as far as there is something in them.
        """
        each = torch.arange(len(images), device=images.device).repeat_interleave(self.config.copies)
        images, whole, true = images[each], whole[each], true[each]
        gain = 1 + _LIGHT * torch.randn(len(images), 3, 1, 1, device=images.device)
        shaken = _shaken(whole)
        motion = self._motions(self.features(images, shaken, gain))
        around = torch.cat([torch.zeros(1, 3), torch.eye(3)]).to(images)
        off = _apart(self._moved(whole, motion[:, 1:]), true, self.pivots[:, None] + _RADIUS * around)
        loss = (off * (self.shares / _FULL_SHARE).clamp(max=1)).mean()
        if self.config.corrections:
            loss = loss + _apart(_corrected(shaken, motion[:, :1]), whole, _WHOLE_RADIUS * around[None])[0]
        return loss

    def _motions(self, features: Float[Tensor, "frames hidden"]) -> Float[Tensor, "frames all 6"]:
        """Motions (radians, half pictures): of the whole object away from its pose, then of the parts against it."""
        return _SCALE * self.out(features).unflatten(1, (1 + self.parts, 6))

    def _moved(self, whole: PartPoses, motion: Float[Tensor, "frames parts 6"]) -> PartPoses:
        return whole.moved_within(motion[..., :3], motion[..., 3:], self.pivots)


def set_upright(
    images: Float[Tensor, "frames 3 height width"], whole: PartPoses, grid: Float[Tensor, "side side 2"]
) -> Float[Tensor, "frames 3 side side"]:
    """Turns, shifts and scales pictures so that the object stands upright in their middle, as near as at rest.

    Args:
        whole: poses of the whole object (frames, 1).
        grid: positions of the pixels of the result.
    """
    depth = DISTANCE + whole.translation[:, 0, 2:]
    middle, scale = FOCAL * whole.translation[:, 0, :2] / depth, DISTANCE / depth
    down = F.normalize(whole.rotation[:, 0, :2, 1], dim=-1)
    across = torch.stack([down[:, 1], -down[:, 0]], -1)
    places = middle[:, None, None] + _ZOOM * scale[:, None, None] * (grid @ torch.stack([across, down], 1)[:, None])
    small = antialiased_resize(images, min(images.shape[-1], 2 * len(grid)))
    return F.grid_sample(small, places, padding_mode="border", align_corners=False)


def _corrected(whole: PartPoses, motion: Float[Tensor, "frames 1 6"]) -> PartPoses:
    return PartPoses(axis_angle_to_matrix(motion[..., :3]) @ whole.rotation, whole.translation + motion[..., 3:])


def _shaken(whole: PartPoses) -> PartPoses:
    """The same poses with errors as a detector makes them, small ones and large ones."""
    spread = torch.tensor([*_TURN, *_SHIFT], device=whole.rotation.device)
    size = torch.rand(len(whole.rotation), 1, 1, device=spread.device)
    return _corrected(whole, size * spread * torch.randn(len(size), 1, 6, device=spread.device))


def _apart(ones: PartPoses, others: PartPoses, points: Float[Tensor, "parts points 3"]) -> Float[Tensor, " parts"]:
    """Mean absolute distances along the axes."""
    placed = [points @ one.rotation.mT + one.translation[:, :, None] for one in (ones, others)]
    return (placed[0] - placed[1]).abs().mean((0, 2, 3))
