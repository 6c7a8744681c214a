"""What is drawn of a model: a person with motions and poses, or whatever its own controls say."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel
from nerfstudio_avatars.studio.model_show import ModelShow
from nerfstudio_avatars.studio.person_show import PersonShow
from nerfstudio_avatars.studio.person_stage import PersonStage


def show_of(model: Any, lock: AbstractContextManager | None = None) -> PersonShow | ModelShow:
    """What a page shows of a model.

    Args:
        model: trained or learning.
        lock: held while the model is used.
    """
    if isinstance(model, InstantAvatarModel):
        return PersonShow(PersonStage(model, lock))
    return ModelShow(model, lock)
