"""What the detectors learn from once nothing else learns: training frames and renderings, whose poses are known."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.unsup_volanim.data.clips import Clips
from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import antialiased_resize
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable
from nerfstudio_avatars.unsup_volanim.rehearsal import rehearse
from nerfstudio_avatars.unsup_volanim.training import AnimationLossConfig
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

MOST = 1024
"""Maximum number of training frames to learn from."""
_RENDERED = 4
"""Number of renderings for each of them."""
_SEEN, _SEEN_FOR_KEYPOINTS = 32, 12
"""Number of frames in a step, and of renderings; of these, so many are given to the first detector too."""


@dataclass(frozen=True)
class KnownPictures:
    """Pictures whose poses are known."""

    images: Float[Tensor, "pictures 3 size size"]
    whole: PartPoses
    """Poses of the whole object (pictures, 1)."""
    parts: PartPoses
    """Poses of the parts (pictures, parts)."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Tensor | slice) -> KnownPictures:
        """Some of them."""
        return KnownPictures(self.images[rows], self.whole[rows], self.parts[rows])

    def some(self, count: int) -> KnownPictures:
        """Some of them, drawn at random."""
        return self[torch.randint(len(self), (count,), device=self.images.device)]

    @classmethod
    def joined(cls, pieces: Sequence[KnownPictures]) -> KnownPictures:
        """All pictures of several sets."""
        whole, parts = (
            PartPoses(torch.cat([one.rotation for one in poses]), torch.cat([one.translation for one in poses]))
            for poses in ([one.whole for one in pieces], [one.parts for one in pieces])
        )
        return cls(torch.cat([one.images for one in pieces]), whole, parts)


@dataclass(frozen=True)
class Lessons:
    """Training frames, with poses from a table, and renderings of the same people in the motions of others."""

    frames: KnownPictures
    renderings: KnownPictures | None

    @classmethod
    @torch.no_grad()
    def collect(
        cls,
        network: VolumetricAnimation,
        table: PartPoseTable,
        clips: Clips,
        most: int = MOST,
        rendered: int = _RENDERED,
    ) -> Lessons | None:
        """Up to so many training frames, and so many renderings for each of them; None if no frame can be read.

        They are the same ones on every process, and when a training is resumed.
        """
        device, visited = table.rotation.device, table.visited_rows()
        first, rows = clips.first_rows(), clips.train_rows()
        options = network.config
        if network.relative is None or not options.relative.rehearsal or not len(visited):
            rendered = 0
        frames: list[KnownPictures] = []
        renderings: list[KnownPictures] = []
        with network.evaluating(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            rows = rows[torch.randperm(len(rows))[:most]]
            for clip in rows[:, 0].unique().tolist():
                pictures, places = [], []
                for frame in rows[rows[:, 0] == clip, 1].tolist():
                    # What cannot be read is left out of training too.
                    with suppress(DataError):
                        pictures.append(clips.frame(clip, frame))
                        places.append(int(first[clip]) + frame)
                if not places:
                    continue
                here = torch.tensor(places, device=device)
                images = torch.stack(pictures).to(device).permute(0, 3, 1, 2)
                # No detector looks closer.
                side = max(2 * options.relative.input_size, options.detector.input_size)
                images = antialiased_resize(images, min(side, images.shape[-1]))
                frames.append(KnownPictures(images, table.whole(here), table.parts(here)))
                cube = network.cubes(torch.tensor([clips.identity_of_clip[clip]], device=device))
                for _ in range(rendered):
                    drawn = rehearse(network, cube, table, here, visited)
                    renderings.append(KnownPictures(drawn.images, drawn.whole, drawn.parts))
        if not frames:
            return None
        return cls(KnownPictures.joined(frames), KnownPictures.joined(renderings) if renderings else None)

    def losses(self, network: VolumetricAnimation, config: AnimationLossConfig) -> dict[str, Tensor]:
        """Weighted losses of the detectors, for some of the pictures."""
        shown = [one.some(_SEEN) for one in (self.frames, self.renderings) if one is not None]
        losses: dict[str, Tensor] = {}
        if network.relative is not None:
            each = [network.relative.loss(one.images, one.whole, one.parts) for one in shown]
            losses["relative"] = config.relative * torch.stack(each).sum()
            shown = [one[:_SEEN_FOR_KEYPOINTS] for one in shown]
        side = network.config.detector.input_size
        found = network.poses_of(network.detect(torch.cat([antialiased_resize(one.images, side) for one in shown])))
        whole = [one.parts if network.relative is None else one.whole for one in shown]
        projected = torch.cat([network.project(one) for one in whole]).detach()
        losses["found"] = len(shown) * config.found * (found.keypoints - projected).abs().mean()
        losses["projection"] = config.projection * (found.keypoints - found.projected).abs().mean()
        return losses
