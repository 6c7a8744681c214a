"""What is drawn of a model: a person with motions and poses, or a kind of object with identities and clips."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel
from nerfstudio_avatars.studio.kind_show import KindShow
from nerfstudio_avatars.studio.person_show import PersonShow
from nerfstudio_avatars.studio.person_stage import PersonStage


def show_of(model: Any, lock: AbstractContextManager | None = None) -> PersonShow | KindShow:
    """What a page shows of a model.

    Args:
        model: trained or learning.
        lock: held while the model is used.
    """
    if isinstance(model, InstantAvatarModel):
        return PersonShow(PersonStage(model, lock))
    return KindShow(model, lock)
