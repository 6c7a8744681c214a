"""Measures a trained `unsup-volanim` on toy heads, whose poses, depth and parts are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nerfstudio_avatars.bodies.rotations import matrix_to_axis_angle
from nerfstudio_avatars.metrics.geometry import (
    align_rotations,
    depth_agreement,
    normal_error,
    part_overlap,
    rotation_error,
    turn_agreement,
    yaw_agreement,
    yaw_from_matrix,
)

if TYPE_CHECKING:
    from nerfstudio_avatars.demo.head_clips import HeadTruth
    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel
    from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nerfstudio.pipelines.base_pipeline import Pipeline
    from torch import Tensor


NOVEL_TURN = np.radians(25)
"""Turn in radians of the new views that are compared."""


class HeadExam:
    """Compares the model with the ground truth of toy heads on held-out frames.

    Args:
        model: a model trained on `data`.
        data: the folder that `ns-avatar demo-data --format voxceleb` drew.
        rows: the clip and frame numbers of the held-out frames.
        true_poses: whether to draw with the true poses instead of the detector's (for a model trained on those).
    """

    def __init__(
        self, model: UnsupVolanimModel, data: Path, rows: Int[Tensor, "rows 2"], true_poses: bool = False
    ) -> None:
        from nerfstudio_avatars.demo.head_clips import read_truth

        self.model, self.rows = model.eval(), rows.tolist()
        self.clips = model.clips.table
        self._true_poses = true_poses
        names = {clip: self.clips[clip].name for clip, _ in self.rows}
        self.truth: dict[int, HeadTruth] = {
            clip: read_truth(data / "truth" / self.clips[clip].split / f"{name}.npz") for clip, name in names.items()
        }
        self.size = model.clips.size
        self._head, self._jaw_part = 0, -1

    def figures(self) -> dict[str, float]:
        """All figures (see docs/unsup-volanim.md); NaN if there are too few frames or heads."""
        return self._reconstruction() | self._poses() | self._jaw() | self._new_views() | self._others_poses()

    def picture(self, clip: int, frame: int) -> Float[Tensor, "size size 3"]:
        """A frame of the data."""
        return self.model.clips.frame(clip, frame)

    def pose(self, clip: int, frame: int) -> PartPoses:
        """The pose in that frame (1, parts)."""
        if not self._true_poses:
            return self.model.driving_pose(clip, frame)
        return true_pose(self.truth[clip], [frame], self.model.network.parts).to(self.model.device)

    def draw(self, clip: int, poses: PartPoses, normals: bool = False) -> dict[str, Tensor]:
        """Renders the head of a clip in any pose, on the CPU like the ground truth; normals take half of the time."""
        from nerfstudio_avatars.unsup_volanim.data.clip_cameras import clip_cameras

        camera = clip_cameras(self.clips, torch.tensor([[clip, 0]]), self.size)
        seen = self.model.render_identity(camera, self.model.cube_of_clip(clip), poses, normals=normals)
        return {name: picture.cpu() for name, picture in seen.items()}

    def other(self, place: int) -> tuple[int, int]:
        """A held-out frame of another identity, to drive the frame at this place with."""
        clips = sorted(self.truth)
        clip, frame = self.rows[place]
        driver = clips[(clips.index(clip) + 1 + place % max(len(clips) - 1, 1)) % len(clips)]
        return driver, frame

    def _reconstruction(self) -> dict[str, float]:
        l1, inside, overlap, predicted, true, masks, ours, theirs = [], [], [], [], [], [], [], []
        bends: list[Tensor] = []
        for clip, frame in self.rows:
            seen = self.draw(clip, self.pose(clip, frame), normals=True)
            truth = self.truth[clip].render(frame)
            error = (seen["rgb"] - self.picture(clip, frame)).abs().mean(-1)
            mask, solid = torch.from_numpy(truth.mask > 0.5), seen["accumulation"][..., 0] > 0.5
            l1.append(float(error.mean()))
            inside.append(float(error[mask].mean()))
            overlap.append(float((mask & solid).sum() / (mask | solid).sum()))
            predicted.append(seen["depth"][..., 0])
            true.append(torch.from_numpy(np.nan_to_num(truth.depth)).float())
            masks.append(mask & solid)
            normal = torch.from_numpy(truth.normal).float()
            bends.append(normal_error(2 * seen["normal"][None] - 1, normal[None], masks[-1][None]))
            shares = torch.cat([torch.full_like(seen["accumulation"], 0.5), seen["part_shares"]], -1)
            ours.append(shares.argmax(-1) - 1 if solid.any() else torch.full_like(mask, -1, dtype=torch.long))
            jaw = torch.from_numpy(truth.jaw > 0.5)
            theirs.append(torch.where(mask, jaw.long(), -1))
        depth = depth_agreement(torch.stack(predicted), torch.stack(true), torch.stack(masks))
        match = part_overlap(torch.stack(ours), torch.stack(theirs))
        self._head, self._jaw_part = max(int(match.match[0]), 0), int(match.match[1])
        return {
            "l1": _mean(l1),
            "l1_inside": _mean(inside),
            "mask_iou": _mean(overlap),
            "depth_corr": float(depth.correlation.nanmean()),
            "relief_gain": float(depth.relief_gain.nanmean()),
            "depth_error": float(depth.aligned_error.nanmean()),
            "normal_error_degrees": float(torch.cat(bends).nanmean()),
            "jaw_iou": float(match.iou[1]),
        }

    def _poses(self) -> dict[str, float]:
        true, identity = self._true_rotations(), self._identities()
        aligned = align_rotations(self._rotations(self._head), true)
        yaw = yaw_agreement(yaw_from_matrix(aligned), yaw_from_matrix(true), identity)
        return {
            "yaw_corr": yaw.median,
            "yaw_corr_worst": min(yaw.per_identity.values(), default=float("nan")),
            "yaw_corr_pooled": yaw.pooled,
            "yaw_gain": yaw.slope,
            "rotation_error_degrees": float(rotation_error(aligned, true).median()),
        }

    def _rotations(self, part: int) -> Float[Tensor, "rows 3 3"]:
        return torch.cat([self.pose(clip, frame).rotation[:, part] for clip, frame in self.rows]).cpu()

    def _true_rotations(self) -> Float[Tensor, "rows 3 3"]:
        return torch.stack([torch.from_numpy(self.truth[clip].poses[row].rotation).float() for clip, row in self.rows])

    def _identities(self) -> Int[Tensor, " rows"]:
        return torch.tensor([clip for clip, _ in self.rows])

    def _jaw(self) -> dict[str, float]:
        """How the part that fits the jaw turns against the head, and what that does for the mouth."""
        true = torch.tensor([self.truth[clip].poses[frame].jaw for clip, frame in self.rows])
        head = self._rotations(self._head)
        between = head.mT @ self._rotations(self._jaw_part if self._jaw_part >= 0 else self._head)
        # From the axes of the true head to those of the model's.
        turn = head[0].T @ align_rotations(head, self._true_rotations())[0]
        opened = matrix_to_axis_angle(turn.T @ between @ turn)[:, 0]
        correlation, slope = turn_agreement(opened, true, self._identities())
        moving: list[float] = []
        still: list[float] = []
        for clip, frame in self.rows:
            mouth = mouth_region(self.truth[clip].render(frame).jaw)
            pose = self.pose(clip, frame)
            for errors, poses in ((moving, pose), (still, self._still(clip, pose))):
                errors.append(float((self.draw(clip, poses)["rgb"] - self.picture(clip, frame)).abs()[mouth].mean()))
        return {
            "jaw_turn_corr": correlation,
            "jaw_turn_slope": slope,
            "mouth_l1": _mean(moving),
            "mouth_l1_ratio": _mean(moving) / _mean(still),
        }

    def _still(self, clip: int, pose: PartPoses) -> PartPoses:
        """A pose with the parts where they are on average against the head, over the held-out frames of a clip."""
        from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

        part = slice(self._head, self._head + 1)

        def head(poses: PartPoses) -> PartPoses:
            return PartPoses(poses.rotation[:, part], poses.translation[:, part])

        known = [self.pose(clip, frame) for own, frame in self.rows if own == clip]
        moved = [head(one).inverse().after(one) for one in known]
        left, _, right = torch.linalg.svd(torch.cat([one.rotation for one in moved]).mean(0))
        shift = torch.cat([one.translation for one in moved]).mean(0)
        return head(pose).after(PartPoses((left @ right)[None], shift[None]))

    def _new_views(self) -> dict[str, float]:
        errors, copies = [], []
        for clip, frame in self.rows:
            for turn in (-NOVEL_TURN, NOVEL_TURN):
                seen = self.draw(clip, self.model.turned(self.pose(clip, frame), turn))["rgb"]
                truth = torch.from_numpy(self.truth[clip].render(frame, turn).rgb).float()
                errors.append(float((seen - truth).abs().mean()))
                copies.append(float((self.picture(clip, frame) - truth).abs().mean()))
        return {"novel_view_l1": _mean(errors), "novel_view_ratio": _mean(errors) / _mean(copies)}

    def _others_poses(self) -> dict[str, float]:
        if len(self.truth) < 2:
            return dict.fromkeys(("cross_identity_l1", "cross_identity_ratio", "mouth_cross_ratio"), float("nan"))
        errors, copies, mouth_errors, mouth_copies = [], [], [], []
        for place, (clip, frame) in enumerate(self.rows):
            driver, moment = self.other(place)
            seen = self.draw(clip, self.pose(driver, moment))["rgb"]
            wanted = self.truth[clip].head.render(self.truth[driver].poses[moment], self.size)
            truth, mouth = torch.from_numpy(wanted.rgb).float(), mouth_region(wanted.jaw)
            error, copy = (seen - truth).abs(), (self.picture(clip, frame) - truth).abs()
            errors.append(float(error.mean()))
            copies.append(float(copy.mean()))
            mouth_errors.append(float(error[mouth].mean()))
            mouth_copies.append(float(copy[mouth].mean()))
        return {
            "cross_identity_l1": _mean(errors),
            "cross_identity_ratio": _mean(errors) / _mean(copies),
            "mouth_cross_ratio": _mean(mouth_errors) / _mean(mouth_copies),
        }


def mouth_region(jaw: Float[np.ndarray, "size size"]) -> Bool[Tensor, "size size"]:
    """Where a picture shows the jaw, and a rim around it, in which a mouth opens."""
    rim = max(1, len(jaw) // 32)
    shares = torch.from_numpy(jaw).float()[None, None]
    return F.max_pool2d(shares, 2 * rim + 1, 1, rim)[0, 0] > 0.5


def true_pose(truth: HeadTruth, frames: list[int], parts: int) -> PartPoses:
    """True poses of frames of a clip (frames, parts), the same for all parts."""
    from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

    rotation = torch.from_numpy(truth.rotation[frames]).float()
    translation = torch.from_numpy(truth.translation[frames]).float()
    return PartPoses(rotation[:, None].expand(-1, parts, -1, -1), translation[:, None].expand(-1, parts, -1))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def held_out_rows(pipeline: Pipeline) -> Tensor:
    """Clip and frame numbers of the frames to evaluate on."""
    assert pipeline.datamanager.eval_dataset is not None
    return pipeline.datamanager.eval_dataset.metadata["rows"]


def train_on_true_poses(pipeline: Pipeline, data: Path, steps: int) -> None:
    """Trains the network of a pipeline from scratch with the true poses of the heads, as an upper bound."""
    import torch

    from nerfstudio_avatars.demo.head_clips import read_truth
    from nerfstudio_avatars.demo.heads_exam import true_pose
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
