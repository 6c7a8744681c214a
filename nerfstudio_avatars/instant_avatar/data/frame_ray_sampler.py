"""Samples rays of a few frames at a time, where the person is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfstudio_avatars.instant_avatar.dynamic_sizes import send

_PATCH_BORDER_SHARE = 0.5
"""Share of a patch that its centre stays away from the borders."""


@dataclass(frozen=True)
class Sampling:
    """How many rays to sample, and where."""

    frames: int
    rays: int
    kind: Literal["mask", "patch", "edge"]
    dilation: int
    outside_share: float
    detail_share: float
    patch_size: int
    edge_width: int


class FrameRaySampler:
    """Draws pixels of random frames and makes their rays, without leaving the device.

    Args:
        images: straight RGBA, kept as uint8.
        cameras: one per image, without distortion.
        frame_ids: frames of the images in the body sequence.
        sampling: how many rays to sample, and where.
        seed: the same seed draws the same rays.
        details: pixels that get an additional share of the rays, as far as the person is near them.
    """

    def __init__(
        self,
        images: UInt8[Tensor, "images height width 4"],
        cameras: Cameras,
        frame_ids: Int[Tensor, " images"],
        sampling: Sampling,
        seed: int,
        details: Bool[Tensor, "images height width"] | None = None,
    ) -> None:
        device = images.device
        self.sampling = sampling
        self.height, self.width = images.shape[1:3]
        self._pixels = images.view(-1, 4)
        self._frame_ids = frame_ids.tolist()
        self._origins = cameras.camera_to_worlds[:, :, 3].to(device)
        self._axes = cameras.camera_to_worlds[:, :, :3].to(device)
        self._intrinsics = torch.cat([cameras.fx, cameras.fy, cameras.cx, cameras.cy], -1).to(device)
        self._order = torch.Generator().manual_seed(seed)
        self._draw = torch.Generator(device).manual_seed(seed)
        self._queue: list[int] = []
        self.last_frames: list[int] = []
        """Frames of the last sample."""
        self._inside, self._outside = self._regions(images[..., 3])
        self._details = None if details is None else self._inside.within(details)

    def state(self) -> dict[str, Any]:
        """The place in its order of images, from which a sampler of as many images can go on."""
        states = {"order": self._order.get_state(), "draw": self._draw.get_state()}
        return states | {"queue": list(self._queue), "images": len(self._frame_ids)}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state`; if it belongs to another number of images, the order begins anew."""
        if state.get("images") == len(self._frame_ids):
            self._order.set_state(state["order"])
            self._draw.set_state(state["draw"])
            self._queue = [int(image) for image in state["queue"]]

    def sample(self) -> tuple[RayBundle, dict[str, Tensor]]:
        """Samples rays of the next frames, grouped by frame, and their pixels."""
        images = self._next_images()
        frames = self.last_frames = [self._frame_ids[image] for image in images]
        device = self._origins.device
        chosen = send(images, device)
        flat = self._pick_patches(chosen) if self.sampling.kind == "patch" else self._pick_pixels(chosen)
        image = chosen.repeat_interleave(flat.shape[1])
        flat = flat.flatten()
        batch = {
            "image": self._pixels[image * (self.height * self.width) + flat].float() / 255,
            "frame": send(frames, device),
            "indices": torch.stack([image, flat // self.width, flat % self.width], -1),
        }
        return self._rays(batch["indices"], np.repeat(frames, len(flat) // len(frames))), batch

    def _rays(self, indices: Int[Tensor, "rays 3"], frame: Int[np.ndarray, " rays"]) -> RayBundle:
        """Rays of pixels given as image, row, column. Equals nerfstudio's `Cameras.generate_rays`.

        Frame numbers stay on the host, which decides by them which rays are rendered together.
        """
        image, row, column = indices.unbind(-1)
        fx, fy, cx, cy = self._intrinsics[image].unbind(-1)
        local = torch.stack([(column + 0.5 - cx) / fx, (cy - row - 0.5) / fy, -torch.ones_like(fx)], -1)
        norm = local.norm(dim=-1, keepdim=True)
        return RayBundle(
            origins=self._origins[image],
            directions=(self._axes[image] @ (local / norm)[..., None])[..., 0],
            pixel_area=1 / (fx * fy)[:, None] / norm**3,
            camera_indices=image[:, None],
            times=None,
            metadata={"frame": torch.from_numpy(frame)[:, None], "directions_norm": norm},
        )

    def _next_images(self) -> list[int]:
        """Draws images without replacement: each is repeated only after all others."""
        count = len(self._frame_ids)
        wanted = min(self.sampling.frames, count)
        if len(self._queue) < wanted:
            left = set(self._queue)
            again = torch.randperm(count, generator=self._order).tolist()
            # Images still to come in this round must not be drawn twice in one batch.
            self._queue += [i for i in again if i not in left] + [i for i in again if i in left]
        chosen, self._queue = self._queue[:wanted], self._queue[wanted:]
        return chosen

    # Where ------------------------------------------------------------------------------------------------------------

    def _regions(self, masks: UInt8[Tensor, "images height width"]) -> tuple[Regions, Regions]:
        """Pixels to draw from: in the region of interest, and in the rest of the box around the person."""
        inside, outside = [], []
        for mask in masks:
            person = mask > 127
            near = _dilate(mask > 0, self.sampling.dilation)
            if self.sampling.kind == "edge":
                band = _dilate(person, self.sampling.edge_width) & _dilate(~person, self.sampling.edge_width)
                wanted, rest = band, near & ~band
            elif self.sampling.kind == "patch":
                border = int(self.sampling.patch_size * _PATCH_BORDER_SHARE)
                wanted, rest = torch.zeros_like(person), near
                within = slice(border, self.height - border), slice(border, self.width - border)
                wanted[within] = person[within]
                if not wanted.any():
                    wanted[within] = True
            else:
                wanted, rest = near, _box_around(near, self.sampling.dilation) & ~near
            wanted = wanted if wanted.any() else torch.ones_like(wanted)
            inside.append(wanted.flatten().nonzero()[:, 0].int())
            outside.append((rest if rest.any() else wanted).flatten().nonzero()[:, 0].int())
        return Regions.of(inside), Regions.of(outside)

    def _pick_pixels(self, chosen: Int[Tensor, " frames"]) -> Int[Tensor, "frames rays"]:
        away = round(self.sampling.rays * self.sampling.outside_share)
        close = 0 if self._details is None else round(self.sampling.rays * self.sampling.detail_share)
        drawn = [self._inside.draw(chosen, self.sampling.rays - away - close, self._draw)]
        if away:
            drawn.append(self._outside.draw(chosen, away, self._draw))
        if close and self._details is not None:
            drawn.append(self._details.draw(chosen, close, self._draw))
        return torch.cat(drawn, 1)

    def _pick_patches(self, chosen: Int[Tensor, " frames"]) -> Int[Tensor, "frames rays"]:
        side = self.sampling.patch_size
        centres = self._inside.draw_apart(chosen, max(1, self.sampling.rays // side**2), self._draw)
        step = torch.arange(side, device=centres.device)
        rows = centres[..., None, None] // self.width - side // 2 + step[:, None]
        columns = centres[..., None, None] % self.width - side // 2 + step
        return (rows.clamp(0, self.height - 1) * self.width + columns.clamp(0, self.width - 1)).flatten(1)


@dataclass(frozen=True)
class Regions:
    """Pixels of each image, one after the other."""

    pixels: Int[Tensor, "all"]
    starts: Int[Tensor, " images"]
    counts: Int[Tensor, " images"]

    @classmethod
    def of(cls, pixels: list[Tensor]) -> Regions:
        """Joins lists of pixels, one per image."""
        counts = torch.tensor([len(part) for part in pixels], device=pixels[0].device)
        return cls(torch.cat(pixels), counts.cumsum(0) - counts, counts)

    def within(self, masks: Bool[Tensor, "images height width"]) -> Regions:
        """Of each image's pixels those in its mask; all of them, where none is in it."""
        pixels = []
        for image, mask in enumerate(masks):
            own = self.pixels[self.starts[image] : self.starts[image] + self.counts[image]]
            kept = own[mask.flatten()[own.long()]]
            pixels.append(kept if len(kept) else own)
        return Regions.of(pixels)

    def draw(self, images: Int[Tensor, " n"], count: int, generator: torch.Generator) -> Int[Tensor, "n count"]:
        """Draws uniform pixels of each image, with replacement."""
        share = torch.rand((len(images), count), generator=generator, device=images.device, dtype=torch.float64)
        return self._at(images, share)

    def draw_apart(self, images: Int[Tensor, " n"], count: int, generator: torch.Generator) -> Int[Tensor, "n count"]:
        """Draws different pixels of each image: one from each of `count` equal parts of its list."""
        share = torch.rand((len(images), count), generator=generator, device=images.device, dtype=torch.float64)
        return self._at(images, (share + torch.arange(count, device=images.device)) / count)

    def _at(self, images: Tensor, share: Float[Tensor, "n count"]) -> Tensor:
        counts = self.counts[images, None]
        place = (share * counts).long().clamp_max(counts - 1)
        return self.pixels[self.starts[images, None] + place].long()


def _dilate(mask: Tensor, pixels: int) -> Tensor:
    """Dilates by a square with sides of 2 * pixels + 1."""
    grown = F.max_pool2d(mask[None].float(), (2 * pixels + 1, 1), stride=1, padding=(pixels, 0))
    return F.max_pool2d(grown, (1, 2 * pixels + 1), stride=1, padding=(0, pixels))[0] > 0


def _box_around(mask: Tensor, margin: int) -> Tensor:
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    box = torch.zeros_like(mask)
    if len(rows):
        box[
            max(int(rows[0]) - margin, 0) : int(rows[-1]) + 1 + margin,
            max(int(columns[0]) - margin, 0) : int(columns[-1]) + 1 + margin,
        ] = True
    return box
