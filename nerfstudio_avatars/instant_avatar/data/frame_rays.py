"""Rays of a few frames for each training step, with all data on the device; whole pictures for evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader, RandIndicesEvalDataloader
from torch import Tensor

from nerfstudio_avatars.instant_avatar.data.detail_windows import detail_masks
from nerfstudio_avatars.instant_avatar.data.frame_ray_sampler import FrameRaySampler, Sampling
from nerfstudio_avatars.instant_avatar.data.person_scene import SplitPictures

_REMEMBERED_STEPS = 100
"""Number of recent steps whose frames are remembered, for messages."""


@dataclass
class FrameRaysDataManagerConfig(VanillaDataManagerConfig):
    """Options of rays from a few frames per step, so that each pose is prepared once for many rays."""

    _target: type = field(default_factory=lambda: FrameRaysDataManager)
    frames_per_batch: int = 2
    """Number of frames to take rays from in each step; more frames give steadier but slower steps."""
    rays_per_frame: int = 512
    """Number of rays to take from each frame in each step."""
    sampler: Literal["mask", "patch", "edge"] = "mask"
    """Rays to prefer: `mask` samples in and around the person, and `edge` samples along the silhouette.
    The paper's choice is `patch`, which takes square patches centred on the person."""
    mask_dilation: int = 6
    """Distance in pixels around the person that is still sampled as the person."""
    outside_share: float = 0.05
    """Share of the rays to take elsewhere: in the box around the person with `mask`, on the person with `edge`."""
    detail_share: float = 0.0
    """Share of the rays to take around the head and the hands with `mask`, besides those that fall there anyway."""
    patch_size: int = 32
    """Side length of the square patches that `patch` takes, in pixels."""
    edge_width: int = 8
    """Distance in pixels on either side of the silhouette that `edge` samples within."""


class PersonDataset(InputDataset):
    """Pictures from a `FrameSource` on white, for the thumbnails of the viewer and `ns-render dataset`."""

    def get_numpy_image(self, image_idx: int) -> UInt8[np.ndarray, "height width 4"]:
        """One picture, as straight colour and mask."""
        return self.pictures.load()[image_idx].numpy()

    @property
    def pictures(self) -> SplitPictures:
        """The pictures of the split."""
        return self.metadata["pictures"]


class MaskedPersonDataset(PersonDataset):
    """The same pictures as RGBA for evaluation, where the model adds its own background."""

    def get_image_float32(self, image_idx: int) -> Float[Tensor, "height width 4"]:
        """Straight colour and mask, from 0 to 1."""
        return torch.from_numpy(self.get_numpy_image(image_idx)).float() / 255


class FrameRaysDataManager(VanillaDataManager[PersonDataset]):
    """Supplies rays. Pictures are decoded when first used, so that `ns-render camera-path` starts at once."""

    config: FrameRaysDataManagerConfig
    _train_sampler: FrameRaySampler | None = None
    _eval_sampler: FrameRaySampler | None = None
    _order: dict[str, Any] | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._frames_of_steps: dict[int, list[int]] = {}

    def setup_train(self) -> None:
        """Does nothing, because the sampler is built with the first batch."""

    def setup_eval(self) -> None:
        """Sets up whole pictures, in order and at random."""
        masked = MaskedPersonDataset(self.eval_dataset._dataparser_outputs, self.config.camera_res_scale_factor)
        self.fixed_indices_eval_dataloader = FixedIndicesEvalDataloader(masked, device=self.device, num_workers=0)
        self.eval_dataloader = RandIndicesEvalDataloader(masked, device=self.device, num_workers=0)

    def next_train(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """Rays of the next training frames."""
        self.train_count += 1
        if self._train_sampler is None:
            self._train_sampler = self._sampler(self.train_dataset)
            if self._order is not None:
                self._train_sampler.restore(self._order)
        rays = self._train_sampler.sample()
        self._frames_of_steps[step] = self._train_sampler.last_frames
        self._frames_of_steps.pop(step - _REMEMBERED_STEPS, None)
        return rays

    def order_of_frames(self) -> dict[str, Any] | None:
        """The place in the order of frames, for the checkpoint; None before the first step."""
        return self._order if self._train_sampler is None else self._train_sampler.state()

    def restore_order_of_frames(self, order: dict[str, Any]) -> None:
        """Goes on from the place in a checkpoint."""
        self._order = order
        if self._train_sampler is not None:
            self._train_sampler.restore(order)

    def frames_of_step(self, step: int) -> list[str]:
        """The frames that a recent step learnt from, for messages."""
        return [f"frame {frame}" for frame in self._frames_of_steps.get(step, [])]

    def next_eval(self, step: int) -> tuple[RayBundle, dict[str, Tensor]]:
        """Rays of the next held-out frames."""
        self.eval_count += 1
        if self._eval_sampler is None:
            self._eval_sampler = self._sampler(self.eval_dataset)
        return self._eval_sampler.sample()

    def get_train_rays_per_batch(self) -> int:
        """Number of rays in a step."""
        return self.config.frames_per_batch * self.config.rays_per_frame

    def get_eval_rays_per_batch(self) -> int:
        """Number of rays in an evaluation step, the same as in training."""
        return self.get_train_rays_per_batch()

    def _sampler(self, dataset: PersonDataset) -> FrameRaySampler:
        config = self.config
        sampling = Sampling(
            frames=config.frames_per_batch,
            rays=config.rays_per_frame,
            kind=config.sampler,
            dilation=config.mask_dilation,
            outside_share=config.outside_share,
            detail_share=config.detail_share,
            patch_size=config.patch_size,
            edge_width=config.edge_width,
        )
        images = dataset.pictures.load().to(self.device)
        seed = torch.initial_seed() % 2**63
        frames = dataset.pictures.frames
        details = None
        if config.detail_share > 0:
            details = detail_masks(dataset.metadata["person"], dataset.cameras, frames).to(self.device)
        return FrameRaySampler(images, dataset.cameras, torch.tensor(frames), sampling, seed, details)
