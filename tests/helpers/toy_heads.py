"""Toy heads in memory, with what is true of them, and the small network that learns them."""

from __future__ import annotations

import numpy as np
import torch

from nerfstudio_avatars.demo.heads import ToyHead, wandering_poses
from nerfstudio_avatars.metrics.geometry import depth_agreement
from nerfstudio_avatars.unsup_volanim.keypoint_detector import KeypointDetectorConfig
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation, VolumetricAnimationConfig
from nerfstudio_avatars.unsup_volanim.pose_search import PoseSearch, PoseSearchConfig
from nerfstudio_avatars.unsup_volanim.training import AnimationBatch, AnimationLossConfig, animation_step
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_field import VoxelGeneratorConfig
from nerfstudio_avatars.unsup_volanim.voxel_render import VoxelRenderConfig, standard_rays

SIZE = 32
HELD_OUT = 8
"""The last of every so many frames is not learned from."""
LOSSES = AnimationLossConfig(perceptual=0.0, equivariance=1.0, projection=1.0, pull=0.0, mask=1.0)


class ToyHeads:
    """One clip of each of some heads."""

    def __init__(self, seeds: range, frames: int = 24) -> None:
        self.frames, self.count = frames, len(seeds)
        paths = [wandering_poses(seed, frames) for seed in seeds]
        seen = [ToyHead(seed).render(pose, SIZE) for seed, path in zip(seeds, paths, strict=True) for pose in path]
        self.images = torch.from_numpy(np.stack([one.rgb for one in seen])).float().permute(0, 3, 1, 2)
        self.masks = torch.from_numpy(np.stack([one.mask for one in seen])).float()[:, None]
        self.depth = torch.from_numpy(np.nan_to_num(np.stack([one.depth for one in seen]))).float()
        poses = [pose for path in paths for pose in path]
        rotation, shift = (np.stack([getattr(pose, name) for pose in poses]) for name in ("rotation", "shift"))
        self.poses = PartPoses(torch.from_numpy(rotation).float()[:, None], torch.from_numpy(shift).float()[:, None])

    def draw(self, identities: int = 2, frames: int = 4) -> AnimationBatch:
        """A training batch."""
        chosen = torch.randperm(self.count)[:identities]
        learned = torch.tensor([frame for frame in range(self.frames) if (frame + 1) % HELD_OUT])
        return self._batch(chosen, learned[torch.randint(0, len(learned), (identities, frames))])

    def held_out(self) -> AnimationBatch:
        """All that is not learned from."""
        return self._batch(torch.arange(self.count), torch.arange(HELD_OUT - 1, self.frames, HELD_OUT))

    def _batch(self, identities, frames):
        rows = (identities[:, None] * self.frames + frames).flatten()
        return AnimationBatch(self.images[rows], self.masks[rows], identities, rows)

    @torch.no_grad()
    def figures(self, network: VolumetricAnimation, poses: PartPoses) -> dict[str, float]:
        """Of the held-out frames, drawn in given poses."""
        batch = self.held_out()
        seen = network.render(network.cubes(batch.identities), poses, standard_rays(SIZE), samples=48)
        accumulation, depth = (one.unflatten(1, (SIZE, SIZE)) for one in (seen.accumulation, seen.depth))
        ours, theirs = accumulation > 0.5, batch.masks[:, 0] > 0.5
        shape = depth_agreement(depth / accumulation.clamp_min(1e-4), self.depth[batch.rows], ours & theirs)
        return {
            "iou": float((ours & theirs).sum() / (ours | theirs).sum()),
            "depth_corr": float(shape.correlation.nanmean()),
            "relief_gain": float(shape.relief_gain.nanmean()),
        }


class TruthAsSearch(PoseSearch):
    """Stands for the pose search and never errs, so that the detector learns the true poses."""

    def __init__(self, heads: ToyHeads) -> None:
        super().__init__(1, PoseSearchConfig())
        self.heads = heads

    def improve(self, network, cubes, images, masks, rows, progress, detected=None):
        return self.heads.poses[rows]


def small_network(identities: int, parts: int = 1, code_size: int = 4, seed: int = 0) -> VolumetricAnimation:
    """A cube of 16^3."""
    torch.manual_seed(seed)
    config = VolumetricAnimationConfig(
        parts=parts,
        points_per_edge=3,
        prior_slope=6.0,
        generator=VoxelGeneratorConfig(
            code_size, widths=(48, 24, 12), norm="group", density_scale=10.0, coarse_outputs=True
        ),
        detector=KeypointDetectorConfig(SIZE, (12, 16, 24, 32), head=3, norm="group", positional_bias=0.15),
        render=VoxelRenderConfig(samples=14, background="slab"),
    )
    return VolumetricAnimation(config, identities)


def learn(network, heads, steps, aids_at, losses=LOSSES, true_poses=False):
    """Trains; every gradient must be finite.

    Args:
        aids_at: what helps after a share of the training.
    """
    adam = torch.optim.Adam(network.parameters(), lr=3e-3, betas=(0.5, 0.999))
    for step in range(steps):
        adam.param_groups[0]["lr"] = 3e-3 * 0.1 ** max(0.0, 2.5 * step / steps - 1.5)
        batch = heads.draw()
        poses = heads.poses[batch.rows] if true_poses else None
        terms = animation_step(network, batch, losses, aids_at(step / steps), true_poses=poses).losses
        adam.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        assert all(one.grad is None or one.grad.isfinite().all() for one in network.parameters())
        torch.nn.utils.clip_grad_value_(network.parameters(), 0.1)
        adam.step()
    return network.eval()
