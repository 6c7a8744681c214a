"""The portable avatar: one file, `me.avatar`, that holds a trained person and nothing else.

It is a safetensors file. Its metadata say what it is in JSON, its arrays are the weights, the poses and cameras of the
video, and the skinning volume of the stand-in body; of an SMPL body, whose files may not be passed on, it only names
the kind. There is no path in it, no code, and no picture.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from nerfstudio.models.base_model import ModelConfig

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.export.checked_fields import as_plain, from_plain
from nerfstudio_avatars.export.portable_checks import LIMITS, check_arrays, check_text
from nerfstudio_avatars.export.safetensors_file import FIX, parse_json, read_safetensors, write_safetensors
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.model import FinishedParts, InstantAvatarModel, InstantAvatarModelConfig
from nerfstudio_avatars.instant_avatar.person import Person
from nerfstudio_avatars.nerfstudio_glue.checkpoints import load_weights
from nerfstudio_avatars.nerfstudio_glue.kept_scene import KeptScene, built_model

NO_LICENCE = "not stated: ask whoever made this file"
_FORMAT, _VERSION = "nerfstudio-avatars", "1"
_EXPECTED = "an avatar that `ns-avatar export` wrote"
_NOT_OURS = frozenset(field.name for field in dataclasses.fields(ModelConfig))
"""Fields of nerfstudio's own, which rendering a person does not need."""


@dataclass(frozen=True)
class Provenance:
    """What the file tells of where it comes from."""

    method: str
    """Method that it was trained with."""
    step: int
    """The last training step, counted from 0."""
    maker: str = ""
    """Who made it, in their own words."""
    licence: str = NO_LICENCE
    """What others may do with it, in the maker's words."""
    written: str = ""
    """When, as ISO 8601."""
    package: str = ""
    """The version of this package that wrote it."""


@dataclass(frozen=True)
class PortableAvatar:
    """What a portable file holds."""

    config: InstantAvatarModelConfig
    provenance: Provenance
    scene: KeptScene
    weights: dict[str, Any]

    def model(self, device: torch.device | str, path: Path) -> InstantAvatarModel:
        """The model, ready to render.

        Args:
            device: where it renders.
            path: the file, for messages.

        Raises:
            UserError: if the weights are not those of such a model.
        """
        model = built_model(self.config, self.scene, device)
        assert isinstance(model, InstantAvatarModel)
        self.load_into(model, path)
        return model.eval()

    def load_into(self, model: InstantAvatarModel, path: Path) -> None:
        """Gives a model of the same person the weights."""
        model.update_to_step(self.provenance.step)
        weights = {f"_model.{name}": value for name, value in self.weights.items()}
        extra = {"_model._extra_state": model.get_extra_state()}
        load_weights(model, weights | extra, str(path), "the avatar that it describes")


def write_portable(model: InstantAvatarModel, provenance: Provenance, path: Path) -> None:
    """Writes a trained person.

    Args:
        model: trained.
        provenance: what to tell of it. The date is filled in.
        path: the file.
    """
    state = model.get_extra_state()
    person, volume = state["person"], state.get("volume")
    arrays = {f"weights.{name}": value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    moved = {name: value for name, value in person["motion"].items() if isinstance(value, torch.Tensor)}
    arrays |= {f"motion.{name}": value for name, value in moved.items()}
    arrays |= {f"cameras.{name}": value for name, value in person["cameras"].items()}
    arrays |= {"train_frames": person["train_frames"], "box": person["box"]}
    if volume:
        arrays |= {f"volume.{name}": value for name, value in volume["buffers"].items()}
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    about = {
        "provenance": dataclasses.asdict(dataclasses.replace(provenance, written=now)),
        # A path is nobody's business; whoever has SMPL has it in a usual place.
        "body": "standin" if person["body"] == "standin" else "smpl",
        "gender": person["gender"],
        "fps": person["motion"]["fps"],
        "jumping_frames": state["jumping_frames"],
        "options": as_plain(model.config, _NOT_OURS),
        "volume": {name: volume[name] for name in ("shape", "spacing", "band")} if volume else None,
    }
    metadata = {"format": _FORMAT, "version": _VERSION, "avatar": json.dumps(about, allow_nan=False)}
    plain = {name: value.detach().cpu().contiguous().numpy() for name, value in arrays.items()}
    write_safetensors(path, plain, metadata)


def read_portable(path: Path) -> PortableAvatar:
    """Reads a file, and compares everything in it with everything else before any of it is used.

    Raises:
        DataError: if it is no such file, is damaged, or was made to do harm.
        UserError: if the body is SMPL and its file is not found.
    """

    def wrong(found: str) -> DataError:
        return DataError(path, found, _EXPECTED, FIX)

    arrays, metadata = read_safetensors(path, _EXPECTED)
    if metadata.get("format") != _FORMAT or "avatar" not in metadata:
        raise wrong("a safetensors file of something else")
    if metadata.get("version") != _VERSION:
        fix = "update this package: pip install -U nerfstudio-avatars"
        raise DataError(path, f"version {metadata.get('version')!r:.20} of the format", f"version {_VERSION}", fix)
    about = parse_json(metadata["avatar"], wrong)
    try:
        check_text(about)
        config = from_plain(InstantAvatarModelConfig, about["options"], LIMITS, _NOT_OURS)
        provenance = from_plain(Provenance, about["provenance"], LIMITS, place="provenance")
        check_arrays(arrays, about, config)
    except ValueError as error:
        raise wrong(str(error)) from error
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}

    def group(prefix: str) -> dict[str, Any]:
        start = f"{prefix}."
        return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}

    names = {"gender": about["gender"], "body": about["body"]}
    state = names | {"train_frames": tensors["train_frames"], "box": tensors["box"], "cameras": group("cameras")}
    state["motion"] = group("motion") | names | {"fps": about["fps"]}
    person = Person.from_state(state)
    volume = SkinningVolume.from_state(about["volume"] | {"buffers": group("volume")}) if about["volume"] else None
    finished = FinishedParts(volume, about["jumping_frames"], person)
    scene = KeptScene(person.box, person.cameras, {"person": person, "finished": finished})
    return PortableAvatar(config, provenance, scene, group("weights"))
