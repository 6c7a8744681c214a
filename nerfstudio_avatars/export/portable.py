"""The portable avatar: one file, `me.avatar`, that holds what a run has learnt and nothing else.

It is a safetensors file. Its metadata say what it is in JSON, its arrays are numbers. There is no path in it, no code,
and no picture. It holds a person (`portable_person`), or a kind of object with all its identities (`portable_kind`).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from nerfstudio.models.base_model import Model, ModelConfig

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.export.checked_fields import from_plain
from nerfstudio_avatars.export.portable_checks import LIMITS
from nerfstudio_avatars.export.portable_kind import kind_content, kind_of
from nerfstudio_avatars.export.portable_person import person_content, person_of
from nerfstudio_avatars.export.safetensors_file import FIX, parse_json, read_safetensors, write_safetensors
from nerfstudio_avatars.nerfstudio_glue.checkpoints import load_weights
from nerfstudio_avatars.nerfstudio_glue.kept_scene import KeptScene, built_model
from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel

NO_LICENCE = "not stated: ask whoever made this file"
_FORMAT, _VERSION = "nerfstudio-avatars", "1"
_PERSON, _KIND = "avatar", "kind"
"""The entry of the metadata that describes a person, or a kind."""
_EXPECTED = "an avatar that `ns-avatar export` wrote"


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

    config: ModelConfig
    provenance: Provenance
    scene: KeptScene
    weights: dict[str, Any]
    extra: dict[str, Any] | None = None
    """The model's extra state; None if it makes its own of the scene."""

    def model(self, device: torch.device | str, path: Path) -> Model:
        """The model, ready to render.

        Args:
            device: where it renders.
            path: the file, for messages.

        Raises:
            UserError: if the weights are not those of such a model.
        """
        model = built_model(self.config, self.scene, device)
        self._load(model, path, self.extra)
        return model.eval()

    def load_into(self, model: Model, path: Path) -> None:
        """Gives a model with the data of the training the weights."""
        # The poses that the file keeps are of its own clips, which are fewer.
        self._load(model, path, self.extra and {**self.extra, "poses": {}})

    def _load(self, model: Model, path: Path, extra: dict[str, Any] | None) -> None:
        model.update_to_step(self.provenance.step)
        weights = {f"_model.{name}": value for name, value in self.weights.items()}
        weights["_model._extra_state"] = model.get_extra_state() if extra is None else extra
        load_weights(model, weights, str(path), "the avatar that it describes")


def write_portable(model: Model, provenance: Provenance, path: Path) -> None:
    """Writes what was learnt.

    Args:
        model: trained, of either method.
        provenance: what to tell of it. The date is filled in.
        path: the file.
    """
    name = _KIND if isinstance(model, UnsupVolanimModel) else _PERSON
    about, arrays = kind_content(model) if isinstance(model, UnsupVolanimModel) else person_content(model)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    told = {"provenance": dataclasses.asdict(dataclasses.replace(provenance, written=now)), **about}
    metadata = {"format": _FORMAT, "version": _VERSION, name: json.dumps(told, allow_nan=False)}
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
    described = [name for name in (_PERSON, _KIND) if name in metadata]
    if metadata.get("format") != _FORMAT or len(described) != 1:
        raise wrong("a safetensors file of something else")
    if metadata.get("version") != _VERSION:
        fix = "update this package: pip install -U nerfstudio-avatars"
        raise DataError(path, f"version {metadata.get('version')!r:.20} of the format", f"version {_VERSION}", fix)
    about = parse_json(metadata[described[0]], wrong)
    try:
        extra = None
        if described == [_KIND]:
            config, scene, weights, extra = kind_of(about, arrays)
        else:
            config, scene, weights = person_of(about, arrays)
        provenance = from_plain(Provenance, about["provenance"], LIMITS, place="provenance")
    except ValueError as error:
        raise wrong(str(error)) from error
    return PortableAvatar(config, provenance, scene, weights, extra)
