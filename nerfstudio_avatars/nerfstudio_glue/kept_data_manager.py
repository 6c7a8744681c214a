"""A data manager for finished runs, which uses what the checkpoint keeps of the data instead of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.datamanagers.base_datamanager import DataManager, VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.data.utils.dataloaders import EvalDataloader

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.kept_scene import KeptScene

_THUMBNAIL = 8
"""Side in pixels of the white pictures that replace the training pictures."""


class KeptDataset(InputDataset):
    """The training cameras. Their pictures are not kept, so the viewer shows white ones."""

    def __init__(self, scene: KeptScene) -> None:
        names = [Path(f"{place:06d}.png") for place in range(len(scene.cameras))]
        super().__init__(DataparserOutputs(names, scene.cameras, scene_box=scene.box, metadata=scene.metadata))

    def get_data(self, image_idx: int, image_type: str = "float32") -> dict[str, Any]:
        """A white picture."""
        picture = torch.ones(_THUMBNAIL, _THUMBNAIL, 3)
        return {"image_idx": image_idx, "image": picture if image_type == "float32" else (255 * picture).byte()}


class KeptCameras(EvalDataloader):
    """Gives single cameras, one of which `ns-render spiral` needs, but no held-out pictures."""

    def __init__(self, dataset: KeptDataset, data: Path | None, device: torch.device | str) -> None:
        super().__init__(dataset, device)
        self._data = data

    def __iter__(self) -> KeptCameras:
        raise UserError(
            f"{self._data}: no such data, and checkpoints hold no held-out pictures. Expected the data that the run "
            "was trained on, in their original place. Move them back, or link to them."
        )

    def __next__(self) -> tuple[Cameras, dict]:
        raise StopIteration


class KeptDataManager(VanillaDataManager[KeptDataset]):
    """The data manager of a finished run. Reads no data."""

    def __init__(self, config: VanillaDataManagerConfig, scene: KeptScene, device: torch.device | str) -> None:
        self.config, self.device, self.test_mode = config, device, "inference"
        self.world_size, self.local_rank, self.sampler = 1, 0, None
        self.includes_time = True
        self.train_dataset = self.eval_dataset = KeptDataset(scene)
        self.train_dataparser_outputs = self.train_dataset._dataparser_outputs
        self.exclude_batch_keys_from_device: list[str] = []
        DataManager.__init__(self)
        self.eval_dataloader = self.fixed_indices_eval_dataloader = KeptCameras(
            self.train_dataset, config.data or config.dataparser.data, device
        )
