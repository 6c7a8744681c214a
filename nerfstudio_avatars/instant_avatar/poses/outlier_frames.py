"""Finds training frames that fit far worse than the others: their pose is wrong, or the person is occluded."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

_DEVIATIONS = 4.5
"""Distance of the log error of an outlier above the median, in standard deviations estimated from the MAD."""
_LEAST_RATIO = 2.0
"""Smallest ratio of an outlier's error to the median, because deviations are tiny if all frames fit equally well."""
_MEMORY = 0.85
"""Share of a frame's running error that is kept when the frame is seen again."""
FEWEST_VISITS = 4
"""Smallest number of visits to every frame before outliers are named."""
FEWEST_FRAMES = 8
"""Smallest number of frames that have a usual error to compare with."""


def outliers(errors: Float[Tensor, " frames"]) -> Bool[Tensor, " frames"]:
    """Finds errors far above the usual one (at most half of all), from median and MAD of their logarithms.

    Leys et al. 2013, "Detecting outliers: do not use standard deviation around the mean, use absolute deviation around
    the median". Logarithms, because some views are harder than others by a factor, not by an amount.

    Args:
        errors: positive, in any unit.
    """
    if len(errors) < FEWEST_FRAMES:
        return torch.zeros_like(errors, dtype=torch.bool)
    logarithm = errors.clamp(min=1e-12).log()
    above = logarithm - logarithm.median()
    deviation = 1.4826 * above.abs().median()
    return above > (_DEVIATIONS * deviation).clamp(min=math.log(_LEAST_RATIO))


class FrameErrors(nn.Module):
    """Running error of every training frame. Its buffers are in the checkpoint, so that runs can be examined later.

    Args:
        frames: the number of frames in the sequence.
        trained: the frames that are trained on.
    """

    error: Tensor
    visits: Tensor
    trained: Tensor

    def __init__(self, frames: int, trained: Int[Tensor, " trained"]) -> None:
        super().__init__()
        self.register_buffer("error", torch.zeros(frames))
        self.register_buffer("visits", torch.zeros(frames, dtype=torch.long))
        self.register_buffer("trained", trained.unique(), persistent=False)

    @torch.no_grad()
    def update(self, frames: Int[Tensor, " k"], errors: Float[Tensor, " k"]) -> None:
        """Adds the errors of frames just seen. One that is not finite teaches nothing: its step is left out."""
        errors = torch.where(errors.isfinite(), errors, self.error[frames])
        memory = torch.where(self.visits[frames] == 0, 0.0, _MEMORY)
        self.error[frames] = memory * self.error[frames] + (1 - memory) * errors
        self.visits[frames] += 1

    def _misfits(self) -> Bool[Tensor, " trained"]:
        """Which trained frames fit far worse than the others; none until all have been seen a few times."""
        seen = self.visits[self.trained].min() >= FEWEST_VISITS
        return outliers(self.error[self.trained]) & seen

    def outlier_frames(self) -> Int[Tensor, "outliers"]:
        """Frames that fit far worse than the others."""
        return self.trained[self._misfits()]

    def weights(self, frames: Int[Tensor, " k"], of_outliers: float) -> Float[Tensor, " k"]:
        """Weights of frames in the loss: 1, or less for outliers. Does not wait for the GPU."""
        misfit = torch.zeros_like(self.error).index_put((self.trained,), self._misfits().float())
        return 1 - (1 - of_outliers) * misfit[frames]

    def weights_of_rays(
        self, frames: Int[Tensor, " frames"], errors: Float[Tensor, " rays"], outlier: float, fits: Tensor | None
    ) -> Float[Tensor, "rays 1"]:
        """Adds the errors of rays to those of their frames, and returns the weight of each ray.

        Args:
            frames: the frames of the rays, each of which has the same number of rays, one frame after the other.
            errors: of the rays.
            outlier: weight of outliers; 1 looks for none.
            fits: whether the errors are known; those of a step that lost samples to its budget are not.
        """
        if outlier == 1:
            return torch.ones_like(errors)[:, None]
        seen = errors.view(len(frames), -1).mean(1)
        if fits is not None:
            seen = torch.where(fits, seen, self.error[frames])
        self.update(frames, seen)
        return self.weights(frames, outlier).repeat_interleave(len(errors) // len(frames))[:, None]
