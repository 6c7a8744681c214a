"""Measuring how well a run of `unsup-volanim` reconstructs, animates and turns faces."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nerfstudio_avatars.avatars.run import LoadedRun
    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel
    from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses


TURNS = (-30.0, -15.0, 15.0, 30.0)
"""Turns in degrees of the views whose yaw is measured."""


def animation_figures(run: LoadedRun, frames: int, people: bool = False) -> dict[str, float | str]:
    """Figures by name, defined in docs/unsup-volanim.md; those of faces need the extra `faces`.

    Args:
        run: an opened run.
        frames: the maximum number of held-out frames to measure.
        people: whether to measure people who were not trained on.

    Returns:
        Figures by name. A figure is NaN if too few frames allow it; text says why some are left out.
    """
    import torch

    from nerfstudio_avatars.avatars.identity import volanim_model
    from nerfstudio_avatars.metrics.psnr import psnr
    from nerfstudio_avatars.metrics.ssim import ssim
    from nerfstudio_avatars.metrics.st_lpips import st_lpips
    from nerfstudio_avatars.tflite import runtime_is_installed

    model, manager = volanim_model(run).eval(), run.datamanager
    # That of people never trained on is not parsed before it is asked for: there may be none.
    data = manager.dataparser.get_dataparser_outputs("test") if people else manager.eval_dataset  # type: ignore[attr-defined]
    rows = data.metadata["rows"]
    rows = rows[torch.linspace(0, len(rows) - 1, min(frames, len(rows))).round().long()]
    shots = [_Shot(model, int(clip), int(frame)) for clip, frame in rows]
    truth = [shot.truth for shot in shots]
    rebuilt = [shot.draw(shot.pose) for shot in shots]
    pairs = list(zip(rebuilt, truth, strict=True))
    figures: dict[str, float | str] = {
        "frames": float(len(shots)),
        "l1": _mean([float((ours - theirs).abs().mean()) for ours, theirs in pairs]),
        "psnr": _mean([float(psnr(ours, theirs)) for ours, theirs in pairs]),
        "ssim": _mean([float(ssim(ours, theirs)) for ours, theirs in pairs]),
    }
    for name in st_lpips(*pairs[0]):
        figures[name] = _mean([st_lpips(ours, theirs)[name] for ours, theirs in pairs])
    if not runtime_is_installed():
        return figures | {"faces": "not measured: pip install 'nerfstudio-avatars[faces]'"}
    return figures | _of_faces(shots, rebuilt, truth)


def _of_faces(shots: list[_Shot], rebuilt: list[Tensor], truth: list[Tensor]) -> dict[str, float | str]:
    import torch

    from nerfstudio_avatars.metrics import face_animation as faces
    from nerfstudio_avatars.metrics.face_identity import embed_faces
    from nerfstudio_avatars.metrics.face_landmarks import FaceLandmarks
    from nerfstudio_avatars.metrics.head_pose import head_pose

    finder = FaceLandmarks()

    def seen(pictures: list[Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.stack([_enlarged(picture) for picture in pictures])
        return images, finder.detect_all(images)

    theirs_images, theirs = seen(truth)
    if not faces.has_face(theirs).any():
        return {"faces": "not measured: none was found in the held-out frames"}
    ours_images, ours = seen(rebuilt)
    figures: dict[str, float | str] = {
        "akd": faces.akd(ours, theirs),
        "mkr": faces.mkr(ours, theirs),
        "aed": faces.aed(embed_faces(ours_images, ours), embed_faces(theirs_images, theirs)),
    }
    figures |= _expressions(torch.tensor([shot.clip for shot in shots]), ours, theirs)
    measured, requested = [], []
    for turn in TURNS:
        _, turned = seen([shot.draw(shot.turned(math.radians(turn))) for shot in shots])
        measured.append(head_pose(turned)[:, 0])
        requested.append(torch.full((len(shots),), turn))
    usual = head_pose(ours)[:, 0].repeat(len(TURNS))
    figures["yaw_deviation"] = faces.yaw_deviation(torch.cat(measured), usual, torch.cat(requested))
    if len({shot.clip for shot in shots}) < 2:
        return figures | {"driven": "not measured: all frames looked at are of one clip"}
    # Every face is driven by the frame of the next shot of another identity.
    drivers = [_driver(shots, number) for number in range(len(shots))]
    _, moved = seen([shot.draw(shots[other].pose) for shot, other in zip(shots, drivers, strict=True)])
    figures["pose_consistency"] = faces.pose_consistency(moved, theirs[torch.tensor(drivers)])
    shapes = [
        faces.shape_consistency(moved[number : number + 1], theirs[number])
        for number in range(len(shots))
        if faces.has_face(moved[number : number + 1]) and faces.has_face(theirs[number : number + 1])
    ]
    figures["shape_consistency"] = _mean(shapes)
    return figures


def _expressions(clips: Tensor, ours: Tensor, theirs: Tensor) -> dict[str, float]:
    """How mouths and eyes follow in reconstructions: medians over the clips of which enough frames are looked at."""
    from nerfstudio_avatars.metrics.expression import eye_opening, following, mouth_opening

    figures: dict[str, float] = {}
    for name, opening in (("mouth", mouth_opening), ("eyes", eye_opening)):
        each = [following(opening(ours[clips == clip]), opening(theirs[clips == clip])) for clip in clips.unique()]
        known = [one for one in each if math.isfinite(one.correlation)]
        figures[f"{name}_corr"] = statistics.median([one.correlation for one in known]) if known else math.nan
        figures[f"{name}_slope"] = statistics.median([one.slope for one in known]) if known else math.nan
    return figures


class _Shot:
    """A held-out frame, the identity it shows, and the model that renders it."""

    def __init__(self, model: UnsupVolanimModel, clip: int, frame: int) -> None:
        self.model, self.clip = model, clip
        self.truth: Tensor = model.clips.frame(clip, frame)
        self.pose = model.driving_pose(clip, frame)
        # Kept: of people never trained on it takes minutes.
        self.cube = model.cube_of_clip(clip)

    def draw(self, pose: PartPoses) -> Tensor:
        """Renders the same identity in a pose."""
        import torch

        from nerfstudio_avatars.unsup_volanim.data.clip_cameras import clip_cameras

        camera = clip_cameras(self.model.clips.table, torch.zeros(1, 2, dtype=torch.long), len(self.truth))
        return self.model.render_identity(camera, self.cube, pose, normals=False)["rgb"].cpu()

    def turned(self, yaw: float) -> PartPoses:
        """Its pose, turned further about the middle of the head by an angle in radians."""
        return self.model.network.turned(self.cube, self.pose, yaw)


def _driver(shots: list[_Shot], number: int) -> int:
    """The next shot of another clip, which exists."""
    others = [(number + step) % len(shots) for step in range(1, len(shots))]
    return next(other for other in others if shots[other].clip != shots[number].clip)


def _enlarged(picture: Tensor) -> Tensor:
    """Pictures with 8 bits per channel, enlarged as the detector needs."""
    import torch.nn.functional as F

    side = max(256, len(picture))
    large = F.interpolate(picture.permute(2, 0, 1)[None], (side, side), mode="bilinear", align_corners=False)
    return (large[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
