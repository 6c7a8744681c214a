"""The light of single training frames: a gain and a tint that they had from camera or lamp, and the person has not."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class FrameLight(nn.Module):
    """A factor for each colour of each training frame, learnt as its logarithm; their mean over the frames is zero.

    Exposure and white balance that change while filming would otherwise be averaged into the avatar, or blamed on its
    poses. They are no part of it: pictures are rendered without them, and portable avatars hold none. Compare the
    appearance of single photographs in NeRF in the Wild (Martin-Brualla et al. 2021), of which these are the simplest.

    Args:
        frames: length of the sequence.
        trained: the frames that are trained on.
    """

    trained: Tensor

    def __init__(self, frames: int, trained: Int[Tensor, " trained"]) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(frames, 3))
        self.register_buffer("trained", trained.unique(), persistent=False)
        self.register_load_state_dict_pre_hook(self._begin_at_none)

    def _begin_at_none(self, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        """Avatars without frames of their own have no light either."""
        state.setdefault(f"{prefix}log_gain", torch.zeros_like(self.log_gain))

    def forward(self, frames: Int[Tensor, " k"]) -> Float[Tensor, "k 3"]:
        """Factors on the colours (red, green, blue) of frames."""
        return (self.log_gain[frames] - self.log_gain[self.trained].mean(0)).exp()

    def lit(self, colours: Float[Tensor, "rays 3"], frames: Int[Tensor, " k"]) -> Float[Tensor, "rays 3"]:
        """Colours of rays in the light of their frames, each of which has as many rays, one frame after the other."""
        return colours * self(frames).repeat_interleave(len(colours) // len(frames), 0)

    def strength(self, frames: Int[Tensor, " k"]) -> Float[Tensor, ""]:
        """Mean square of the logarithms of some frames, which is kept small: it is the light that changes, if any."""
        return self.log_gain[frames].square().mean()
