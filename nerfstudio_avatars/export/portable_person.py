"""What a portable file holds of a person that `instant-avatar` has learnt.

Its arrays are the weights, the poses and cameras of the video, and the skinning volume of the stand-in body; of an SMPL
body, whose files may not be passed on, it only names the kind.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from nerfstudio.models.base_model import ModelConfig
from torch import Tensor

from nerfstudio_avatars.export.checked_fields import as_plain, from_plain
from nerfstudio_avatars.export.portable_checks import LIMITS, check_arrays, check_text
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.model import FinishedParts, InstantAvatarModel, InstantAvatarModelConfig
from nerfstudio_avatars.instant_avatar.person import Person
from nerfstudio_avatars.nerfstudio_glue.kept_scene import KeptScene

_NOT_OURS = frozenset(field.name for field in dataclasses.fields(ModelConfig))
"""Fields of nerfstudio's own, which rendering a person does not need."""
_OF_FRAMES = "light."
"""Beginning of the names of weights that belong to frames of the video alone."""


def person_content(model: InstantAvatarModel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a file says of a trained person, as JSON knows it, and its arrays."""
    state = model.get_extra_state()
    person, volume = state["person"], state.get("volume")
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith(_OF_FRAMES)}
    arrays = {f"weights.{name}": value for name, value in weights.items() if isinstance(value, torch.Tensor)}
    moved = {name: value for name, value in person["motion"].items() if isinstance(value, torch.Tensor)}
    arrays |= {f"motion.{name}": value for name, value in moved.items()}
    arrays |= {f"cameras.{name}": value for name, value in person["cameras"].items()}
    arrays |= {"train_frames": person["train_frames"], "box": person["box"]}
    if not volume and person["reach"] is not None:
        arrays["reach"] = person["reach"]
    if volume:
        arrays |= {f"volume.{name}": value for name, value in volume["buffers"].items()}
    about = {
        # A path is nobody's business; whoever has SMPL has it in a usual place.
        "body": "standin" if person["body"] == "standin" else "smpl",
        "gender": person["gender"],
        "fps": person["motion"]["fps"],
        "jumping_frames": state["jumping_frames"],
        "options": as_plain(model.config, _NOT_OURS),
        "volume": {name: volume[name] for name in ("shape", "spacing", "band")} if volume else None,
    }
    return about, arrays


def person_of(
    about: dict[str, Any], arrays: dict[str, Any]
) -> tuple[InstantAvatarModelConfig, KeptScene, dict[str, Tensor]]:
    """The options, the scene and the weights in a file, after everything was compared with everything else.

    Args:
        about: what the file says.
        arrays: numpy's.

    Raises:
        ValueError: with what was found.
        UserError: if the body is SMPL and its file is not found.
    """
    check_text(about)
    config = from_plain(InstantAvatarModelConfig, about["options"], LIMITS, _NOT_OURS)
    check_arrays(arrays, about, config)
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}

    def group(prefix: str) -> dict[str, Any]:
        start = f"{prefix}."
        return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}

    names = {"gender": about["gender"], "body": about["body"]}
    state = names | {"train_frames": tensors["train_frames"], "box": tensors["box"], "cameras": group("cameras")}
    state["reach"] = tensors.get("reach")
    state["motion"] = group("motion") | names | {"fps": about["fps"]}
    person = Person.from_state(state)
    volume = SkinningVolume.from_state(about["volume"] | {"buffers": group("volume")}) if about["volume"] else None
    finished = FinishedParts(volume, about["jumping_frames"], person)
    scene = KeptScene(person.box, person.cameras, {"person": person, "finished": finished})
    return config, scene, group("weights")
