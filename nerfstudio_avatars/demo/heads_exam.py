"""Measures a trained `unsup-volanim` on toy heads, whose poses, depth and jaws are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.demo.head_clips import HeadTruth, read_truth
from nerfstudio_avatars.demo.heads import JAW
from nerfstudio_avatars.demo.toy_exam import ToyExam, region, true_pose
from nerfstudio_avatars.metrics.geometry import turn_agreement

if TYPE_CHECKING:
    from nerfstudio.pipelines.base_pipeline import Pipeline

    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel


class HeadExam(ToyExam[HeadTruth]):
    """Compares the model with toy heads on held-out frames; for its arguments, see `ToyExam`."""

    def __init__(
        self,
        model: UnsupVolanimModel,
        data: Path,
        rows: Int[Tensor, "rows 2"],
        true_poses: bool = False,
        fit_rounds: int = 0,
    ) -> None:
        super().__init__(model, data, rows, read_truth, true_poses, fit_rounds)

    def figures(self) -> dict[str, float]:
        """All figures (see docs/unsup-volanim.md); NaN if there are too few frames or heads."""
        return self.motions() | self._new_views()

    def motions(self) -> dict[str, float]:
        """The same without new views."""
        return self._reconstruction() | self._poses() | self._jaw() | self._others_poses("mouth", [JAW])

    def _jaw(self) -> dict[str, float]:
        """How the part that fits the jaw turns against the head, and what that does for the mouth."""
        opened = torch.tensor([self.truth[clip].poses[frame].jaw for clip, frame in self.rows])
        turn = torch.stack([opened, 0 * opened, 0 * opened], -1)
        correlation, slope = turn_agreement(*self._turns(JAW, axis_angle_to_matrix(turn)), self._identities())
        moving: list[float] = []
        still: list[float] = []
        for clip, frame in self.rows:
            mouth = region(self.truth[clip].render(frame).parts[..., JAW])
            pose = self.pose(clip, frame)
            for errors, poses in ((moving, pose), (still, self._still(clip, pose))):
                errors.append(float((self.draw(clip, poses)["rgb"] - self.picture(clip, frame)).abs()[mouth].mean()))
        return {
            "jaw_iou": self.part_iou[JAW],
            "jaw_turn_corr": correlation,
            "jaw_turn_slope": slope,
            "mouth_l1": sum(moving) / len(moving),
            "mouth_still_ratio": sum(moving) / sum(still),
        }


def against_one_part(figures: dict[str, Any], one_part: dict[str, Any]) -> dict[str, Any]:
    """Figures of a run and `mouth_l1_ratio`, its error at the mouth over that of a model with one rigid part.

    The same of fitted poses, if both have some.
    """
    found = {**figures, "mouth_l1_ratio": figures["mouth_l1"] / one_part["mouth_l1"]}
    if "fitted_poses" in figures and "fitted_poses" in one_part:
        found["fitted_poses"] = against_one_part(figures["fitted_poses"], one_part["fitted_poses"])
    return found


def train_on_true_poses(pipeline: Pipeline, data: Path, steps: int) -> None:
    """Trains the network of a pipeline from scratch with the true poses of the heads, as an upper bound."""
    from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation
    from nerfstudio_avatars.unsup_volanim.training import AnimationAids, AnimationBatch, animation_step

    torch.manual_seed(0)
    model = pipeline.model
    clips = model.clips.table
    truth = {
        number: read_truth(data / "truth" / "train" / f"{clips[number].name}.npz") for number in clips.of_split("train")
    }
    network = model.network = VolumetricAnimation(model.config.network, len(model.clips.identities)).to(model.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, betas=(0.5, 0.999))
    aids = AnimationAids(detect=False, patch=model.config.schedule.patch)
    model.forget_pictures()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * 0.1 ** max(0.0, 2.5 * step / steps - 1.5)
        _, batch = pipeline.datamanager.next_train(step)
        poses = [true_pose(truth[int(c)], [int(f)], 1) for c, f in zip(batch["clip"], batch["frame"], strict=True)]
        joined = type(poses[0])(torch.cat([p.rotation for p in poses]), torch.cat([p.translation for p in poses]))
        joined = joined.to(model.device)
        frames = batch["image"].permute(0, 3, 1, 2), batch["mask"].permute(0, 3, 1, 2)
        identities = torch.unique_consecutive(batch["identity"])
        inputs = AnimationBatch(*frames, identities, torch.zeros(len(poses), dtype=torch.long, device=model.device))
        losses = animation_step(network, inputs, model.config.losses, aids, true_poses=joined).losses
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
