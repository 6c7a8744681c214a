"""Learning curves of a run, measured on the checkpoints it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nerfstudio_avatars.avatars.run import LoadedRun


@dataclass(frozen=True)
class CurvePoint:
    """One checkpoint."""

    steps: int
    seconds: float
    """Time since training began, including that for writing earlier checkpoints."""
    psnr: float
    """Mean PSNR over the curve's pictures in decibels, on the model's own background."""


def learning_curve(run: LoadedRun, began: float, most_pictures: int) -> list[CurvePoint]:
    """Measures every checkpoint, after which the run holds the last one.

    Args:
        run: opened with its test pictures.
        began: when the training began, on the files' clock.
        most_pictures: the maximum number of held-out pictures to measure, evenly spread.
    """
    import torch

    files = sorted(run.checkpoint.parent.glob("step-*.ckpt"))
    points = []
    for file in files:
        # Weights only: a checkpoint is data.
        state = torch.load(file, map_location="cpu", weights_only=True)
        run.pipeline.load_pipeline(state["pipeline"], state["step"])
        points.append(CurvePoint(state["step"] + 1, file.stat().st_mtime - began, _psnr(run, most_pictures)))
    return points


def seconds_to(target: float, curve: Sequence[CurvePoint]) -> float | None:
    """Time in seconds at which the curve first reaches a PSNR, linear between checkpoints; None if it never does.

    If the first checkpoint is already above the target, its time is an upper bound.
    """
    for before, point in zip([None, *curve], curve, strict=False):
        if point.psnr >= target:
            if before is None:
                return point.seconds
            share = (target - before.psnr) / (point.psnr - before.psnr)
            return before.seconds + share * (point.seconds - before.seconds)
    return None


def _psnr(run: LoadedRun, most: int) -> float:
    import torch

    from nerfstudio_avatars.avatars.measure import evenly
    from nerfstudio_avatars.metrics.image import composite
    from nerfstudio_avatars.metrics.psnr import psnr

    model, loader = run.pipeline.model, run.pipeline.datamanager.fixed_indices_eval_dataloader
    chosen = evenly(range(len(loader)), most)
    values = []
    with torch.no_grad():
        for index, (camera, batch) in enumerate(loader):
            if index in chosen:
                seen = model.get_outputs_for_camera(camera=camera)["rgb"]
                truth = composite(batch["image"].to(seen.device), model.config.background)
                values.append(psnr(seen.clamp(0, 1), truth))
    return sum(values) / len(values)
