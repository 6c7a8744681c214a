"""Measures a trained `unsup-volanim` on toys, whose poses, depth and parts are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nerfstudio_avatars.bodies.rotations import matrix_to_axis_angle
from nerfstudio_avatars.demo.toy_clips import ToyTruth
from nerfstudio_avatars.metrics.geometry import (
    align_rotations,
    depth_agreement,
    normal_error,
    part_overlap,
    rotation_error,
    yaw_agreement,
    yaw_from_matrix,
)

if TYPE_CHECKING:
    from nerfstudio.pipelines.base_pipeline import Pipeline

    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel
    from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses


NOVEL_TURN = np.radians(25)
"""Turn in radians of the new views that are compared."""


T = TypeVar("T", bound="ToyTruth[Any]")


class ToyExam(Generic[T]):
    """Compares the model with the ground truth of toys on held-out frames.

    Args:
        model: a model trained on `data`.
        data: the folder that `ns-avatar demo-data` drew.
        rows: the clip and frame numbers of the held-out frames.
        read: reads the truth about a clip.
        true_poses: whether to draw with the true poses of the whole instead of the detector's (for a model trained on
            those).
        fit_rounds: rounds in which the detector's poses are fitted to the held-out frames.
    """

    def __init__(
        self,
        model: UnsupVolanimModel,
        data: Path,
        rows: Int[Tensor, "rows 2"],
        read: Callable[[Path], T],
        true_poses: bool = False,
        fit_rounds: int = 0,
    ) -> None:
        self.model, self.rows = model.eval(), rows.tolist()
        self.clips = model.clips.table
        self._true_poses, self._fit_rounds = true_poses, fit_rounds
        self._fitted: dict[tuple[int, int], PartPoses] = {}
        names = {clip: self.clips[clip].name for clip, _ in self.rows}
        self.truth: dict[int, T] = {
            clip: read(data / "truth" / self.clips[clip].split / f"{name}.npz") for clip, name in names.items()
        }
        self.size = model.clips.size
        self.matches: list[int] = [0]
        """Of each true part, the part of the model that fits it best, or -1."""
        self.part_iou: list[float] = []
        """Overlap of each true part with that."""

    @property
    def root(self) -> int:
        """The part of the model that fits the first true part, against which the others move."""
        return max(self.matches[0], 0)

    def picture(self, clip: int, frame: int) -> Float[Tensor, "size size 3"]:
        """A frame of the data."""
        return self.model.clips.frame(clip, frame)

    def pose(self, clip: int, frame: int) -> PartPoses:
        """The pose in that frame (1, parts)."""
        if self._fit_rounds:
            return self._fit(clip, frame)
        if not self._true_poses:
            return self.model.driving_pose(clip, frame)
        return true_pose(self.truth[clip], [frame], self.model.network.parts).to(self.model.device)

    def draw(self, clip: int, poses: PartPoses, normals: bool = False) -> dict[str, Tensor]:
        """Renders the head of a clip in any pose, on the CPU like the ground truth; normals take half of the time."""
        from nerfstudio_avatars.unsup_volanim.data.clip_cameras import clip_cameras

        camera = clip_cameras(self.clips, torch.tensor([[clip, 0]]), self.size)
        seen = self.model.render_identity(camera, self.model.cube_of_clip(clip), poses, normals=normals)
        return {name: picture.cpu() for name, picture in seen.items()}

    def turned(self, clip: int, pose: PartPoses, turn: float) -> Float[Tensor, "size size 3"]:
        """Draws the object of a clip, turned further about its middle by an angle in radians."""
        return self.draw(clip, self.model.network.turned(self.model.cube_of_clip(clip), pose, turn))["rgb"]

    def other(self, place: int) -> tuple[int, int]:
        """A held-out frame of another identity, to drive the frame at this place with."""
        clips = sorted(self.truth)
        clip, frame = self.rows[place]
        driver = clips[(clips.index(clip) + 1 + place % max(len(clips) - 1, 1)) % len(clips)]
        return driver, frame

    def _fit(self, clip: int, frame: int) -> PartPoses:
        if (clip, frame) not in self._fitted:
            from nerfstudio_avatars.unsup_volanim.fitted_clip import fit_clip

            frames = [of for own, of in self.rows if own == clip]
            for of, pose in zip(frames, fit_clip(self.model, clip, frames, self._fit_rounds), strict=True):
                self._fitted[clip, of] = pose
        return self._fitted[clip, frame]

    def _reconstruction(self) -> dict[str, float]:
        l1, inside, covered, predicted, true, masks, ours, theirs = [], [], [], [], [], [], [], []
        bends: list[Tensor] = []
        for clip, frame in self.rows:
            seen = self.draw(clip, self.pose(clip, frame), normals=True)
            truth = self.truth[clip].render(frame)
            error = (seen["rgb"] - self.picture(clip, frame)).abs().mean(-1)
            mask, solid = torch.from_numpy(truth.mask > 0.5), seen["accumulation"][..., 0] > 0.5
            l1.append(float(error.mean()))
            inside.append(float(error[mask].mean()))
            covered.append(float((mask & solid).sum() / (mask | solid).sum()))
            predicted.append(seen["depth"][..., 0])
            true.append(torch.from_numpy(np.nan_to_num(truth.depth)).float())
            masks.append(mask & solid)
            normal = torch.from_numpy(truth.normal).float()
            bends.append(normal_error(2 * seen["normal"][None] - 1, normal[None], masks[-1][None]))
            shares = torch.cat([torch.full_like(seen["accumulation"], 0.5), seen["part_shares"]], -1)
            ours.append(shares.argmax(-1) - 1 if solid.any() else torch.full_like(mask, -1, dtype=torch.long))
            theirs.append(torch.where(mask, torch.from_numpy(truth.parts).argmax(-1), -1))
        depth = depth_agreement(torch.stack(predicted), torch.stack(true), torch.stack(masks))
        overlap = part_overlap(torch.stack(ours), torch.stack(theirs))
        self.matches, self.part_iou = overlap.match.tolist(), overlap.iou.tolist()
        return {
            "l1": _mean(l1),
            "l1_inside": _mean(inside),
            "mask_iou": _mean(covered),
            "depth_corr": float(depth.correlation.nanmean()),
            "relief_gain": float(depth.relief_gain.nanmean()),
            "depth_error": float(depth.aligned_error.nanmean()),
            "normal_error_degrees": float(torch.cat(bends).nanmean()),
        }

    def _poses(self) -> dict[str, float]:
        true, identity = self._true_rotations(), self._identities()
        aligned = align_rotations(self._rotations(self.root), true)
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

    def _turns(self, part: int, true: Float[Tensor, "rows 3 3"]) -> tuple[Tensor, Tensor]:
        """Turns of a true part, and of the part that fits it, against the first: about the axis that it turns about.

        Args:
            part: number of the true part.
            true: its rotations against the first.

        Returns:
            Angles in radians, from each identity's mean.
        """
        root = self._rotations(self.root)
        # From the axes of the true toy to those of the model's.
        axes = root[0].T @ align_rotations(root, self._true_rotations())[0]
        matched = self.matches[part]
        between = axes.T @ root.mT @ self._rotations(matched if matched >= 0 else self.root) @ axes
        identity = self._identities()
        ours, theirs = (turns_from_mean(rotations, identity) for rotations in (between, true))
        axis = torch.linalg.svd(theirs, full_matrices=False).Vh[0]
        return ours @ axis, theirs @ axis

    def _still(self, clip: int, pose: PartPoses) -> PartPoses:
        """A pose with the parts where they are on average against the head, over the held-out frames of a clip."""
        from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

        part = slice(self.root, self.root + 1)

        def root(poses: PartPoses) -> PartPoses:
            return PartPoses(poses.rotation[:, part], poses.translation[:, part])

        known = [self.pose(clip, frame) for own, frame in self.rows if own == clip]
        moved = [root(one).inverse().after(one) for one in known]
        left, _, right = torch.linalg.svd(torch.cat([one.rotation for one in moved]).mean(0))
        shift = torch.cat([one.translation for one in moved]).mean(0)
        return root(pose).after(PartPoses((left @ right)[None], shift[None]))

    def _new_views(self) -> dict[str, float]:
        errors, copies = [], []
        for clip, frame in self.rows:
            for turn in (-NOVEL_TURN, NOVEL_TURN):
                seen = self.turned(clip, self.pose(clip, frame), turn)
                truth = torch.from_numpy(self.truth[clip].render(frame, turn).rgb).float()
                errors.append(float((seen - truth).abs().mean()))
                copies.append(float((self.picture(clip, frame) - truth).abs().mean()))
        return {"novel_view_l1": _mean(errors), "novel_view_ratio": _mean(errors) / _mean(copies)}

    def _others_poses(self, name: str, parts: list[int]) -> dict[str, float]:
        """Errors when moved by others, also where these parts are, under this name."""
        if len(self.truth) < 2:
            return dict.fromkeys(("cross_identity_l1", "cross_identity_ratio", f"{name}_cross_ratio"), float("nan"))
        errors, copies, part_errors, part_copies = [], [], [], []
        for place, (clip, frame) in enumerate(self.rows):
            driver, moment = self.other(place)
            seen = self.draw(clip, self.pose(driver, moment))["rgb"]
            wanted = self.truth[clip].toy.render(self.truth[driver].poses[moment], self.size)
            truth, here = torch.from_numpy(wanted.rgb).float(), region(wanted.parts[..., parts].sum(-1))
            error, copy = (seen - truth).abs(), (self.picture(clip, frame) - truth).abs()
            errors.append(float(error.mean()))
            copies.append(float(copy.mean()))
            part_errors.append(float(error[here].mean()))
            part_copies.append(float(copy[here].mean()))
        return {
            "cross_identity_l1": _mean(errors),
            "cross_identity_ratio": _mean(errors) / _mean(copies),
            f"{name}_cross_ratio": _mean(part_errors) / _mean(part_copies),
        }


def region(shares: Float[np.ndarray, "size size"]) -> Bool[Tensor, "size size"]:
    """Where a picture shows some parts, and a rim around them, into which they move."""
    rim = max(1, len(shares) // 32)
    known = torch.from_numpy(shares).float()[None, None]
    return F.max_pool2d(known, 2 * rim + 1, 1, rim)[0, 0] > 0.5


def true_pose(truth: ToyTruth[Any], frames: list[int], parts: int) -> PartPoses:
    """True poses of frames of a clip (frames, parts), the same for all parts."""
    from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

    rotation = torch.from_numpy(truth.rotation[frames]).float()
    translation = torch.from_numpy(truth.translation[frames]).float()
    return PartPoses(rotation[:, None].expand(-1, parts, -1, -1), translation[:, None].expand(-1, parts, -1))


def turns_from_mean(rotations: Float[Tensor, "rows 3 3"], identity: Int[Tensor, " rows"]) -> Float[Tensor, "rows 3"]:
    """Axis-angle vectors (radians) of rotations from the mean of their identity, in the axes of its unmoved toy."""
    turns = torch.zeros(len(rotations), 3)
    for number in identity.unique():
        own = identity == number
        left, _, right = torch.linalg.svd(rotations[own].mean(0))
        turns[own] = matrix_to_axis_angle(rotations[own] @ (left @ right).mT)
    return turns


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def held_out_rows(pipeline: Pipeline) -> Tensor:
    """Clip and frame numbers of the frames to evaluate on."""
    assert pipeline.datamanager.eval_dataset is not None
    return pipeline.datamanager.eval_dataset.metadata["rows"]
