"""Controls in nerfstudio's viewer that choose the identity `unsup-volanim` shows, and what moves it."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from nerfstudio.viewer.viewer_elements import ViewerCheckbox, ViewerDropdown, ViewerSlider
from torch import Tensor, nn

AS_DRIVEN, BY_CAMERA = "as driven", "the camera's"
RANDOM_IDENTITIES = [f"random:{number}" for number in range(1, 7)]
"""Names of the random identities to choose from."""
LISTED = 500
"""Maximum number of names in a dropdown; a data set may have twenty thousand."""


class AnimationControls(nn.Module):
    """Controls for identity, driving clip, yaw and parts. Without a viewer they keep their initial values."""

    def __init__(self, identities: list[str], clips: list[str], parts: int) -> None:
        super().__init__()
        self._identities = {name: number for number, name in enumerate(identities[:LISTED])}
        self._clips = {name: number for number, name in enumerate(clips[:LISTED])}
        self.identity = ViewerDropdown("Identity", AS_DRIVEN, [AS_DRIVEN, *self._identities, *RANDOM_IDENTITIES])
        self.clip = ViewerDropdown("Driving clip", BY_CAMERA, [BY_CAMERA, *self._clips])
        self.yaw = ViewerSlider("Yaw", 0.0, -60.0, 60.0, 1.0, hint="Turns the object by this angle in degrees.")
        self._part_count = parts
        for part in range(parts if parts > 1 else 0):
            setattr(self, f"part_{part}", ViewerCheckbox(f"Part {part}", True))

    def identity_number(self) -> int | None:
        """The chosen identity; None for the one in the driving clip."""
        return self._identities.get(self.identity.value)

    def random_number(self) -> int | None:
        """Number of the random identity, if one is chosen."""
        name = self.identity.value
        return int(name.partition(":")[2]) if name in RANDOM_IDENTITIES and name not in self._identities else None

    def driving(self) -> int | None:
        """The chosen clip, whose frame the camera's time says; None for the camera's."""
        return self._clips.get(self.clip.value)

    def yaw_radians(self) -> float:
        """Further turn of the object, in radians."""
        return math.radians(self.yaw.value)

    def visible_parts(self) -> Float[Tensor, " parts"] | None:
        """1 for each visible part, 0 for hidden ones; None if all are visible."""
        shown = (
            [getattr(self, f"part_{part}").value for part in range(self._part_count)] if self._part_count > 1 else []
        )
        return None if all(shown) else torch.tensor(shown, dtype=torch.float32)
