"""Whole frames of a few clips for each training step, for methods that learn from many videos."""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.datamanagers.base_datamanager import DataManager, VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader, RandIndicesEvalDataloader
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, distributed

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.unsup_volanim.data.clip_cameras import clip_cameras
from nerfstudio_avatars.unsup_volanim.data.clip_sampler import BatchSize, ClipSampler
from nerfstudio_avatars.unsup_volanim.data.clips import Clips


@dataclass
class ClipFramesDataManagerConfig(VanillaDataManagerConfig):
    """Options of frames from a few identities per step. Options of the base class on rays and pixels are not used."""

    _target: type = field(default_factory=lambda: ClipFramesDataManager)
    identities_per_batch: int = 2
    """Number of identities to train on in each step, over all processes; more give steadier but slower steps."""
    frames_per_identity: int = 4
    """Number of frames to take of each identity in a step; its cube is generated once for all of them."""
    cache_gb: float = 1.0
    """Amount of memory to use for decoded frames, in gigabytes; frames that fit are decoded only once."""
    eval_split: Literal["frames", "people"] = "frames"
    """Pictures to evaluate on: `frames` are held-out frames of clips that were trained on.
    With `people`, they show people who were not trained on, and who have to be inverted first."""
    prefetch: bool = True
    """Whether to decode the frames of the next step while the current step computes."""
    seed: int = 42
    """Seed of the random numbers that choose frames; seed and step number decide the batch in all processes."""


Batch = tuple[Cameras, dict[str, Tensor]]


class ClipDataset(InputDataset):
    """Frames by camera, decoded when first used."""

    exclude_batch_keys_from_device: list[str] = []

    def __init__(self, dataparser_outputs: DataparserOutputs, clips: Clips) -> None:
        super().__init__(dataparser_outputs)
        assert clips.reader is not None
        self.clips, self.reader = clips, clips.reader
        # The model may ask for frames of any clip.
        self.metadata["clips"] = clips

    @property
    def rows(self) -> Int[Tensor, "rows 2"]:
        """(clip, frame) of each frame of the split."""
        return self.metadata["rows"]

    def get_numpy_image(self, image_idx: int) -> UInt8[np.ndarray, "size size 3"]:
        """One frame."""
        clip, frame = self.rows[image_idx].tolist()
        return self.reader.read(clip, frame)[0].copy()

    def get_image_float32(self, image_idx: int) -> Float[Tensor, "size size 3"]:
        """One frame, 0 to 1."""
        return torch.from_numpy(self.get_numpy_image(image_idx)).float() / 255

    def get_data(self, image_idx: int, image_type: Literal["uint8", "float32"] = "float32") -> dict[str, Any]:
        """One frame, its mask, and its numbers; see `ClipFramesDataManager.next_train`."""
        row = self.rows[image_idx][None]
        data = {key: value[0] for key, value in self.frames(row).items()}
        if image_type == "uint8":
            data["image"] = self.get_image_uint8(image_idx)
        return data | {"image_idx": image_idx}

    def frames(self, rows: Int[Tensor, "rows 2"]) -> dict[str, Tensor]:
        """Frames of clips, given as (clip, frame)."""
        read = self.reader.read_many([(clip, frame) for clip, frame in rows.tolist()])
        whole = np.full((self.reader.size, self.reader.size), 255, np.uint8)
        masks = np.stack([whole if mask is None else mask for _, mask in read])
        # Looked up clip by clip: a tensor of all of them would take longer than the frames.
        identities = [self.clips.identity_of_clip[clip] for clip in rows[:, 0].tolist()]
        return {
            "image": torch.from_numpy(np.stack([rgb for rgb, _ in read])).float() / 255,
            "mask": torch.from_numpy(masks)[..., None].float() / 255,
            "has_mask": torch.tensor([mask is not None for _, mask in read]),
            "clip": rows[:, 0],
            "identity": torch.tensor(identities),
            "frame": rows[:, 1],
        }


class ClipFramesDataManager(VanillaDataManager[ClipDataset]):
    """Supplies frames, decoded when first used. Every batch is a function of the seed and the step number."""

    config: ClipFramesDataManagerConfig

    def __init__(
        self,
        config: ClipFramesDataManagerConfig,
        device: torch.device | str = "cpu",
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        **_: Any,
    ) -> None:
        self.config, self.device = config, device
        self.world_size, self.local_rank, self.test_mode = world_size, local_rank, test_mode
        self.sampler = None
        # People who were not trained on have no embedding. So ns-eval's `test` shows held-out frames too, by default.
        self.test_split = {"frames": "val", "people": "test"}[config.eval_split]
        self.dataparser_config = config.dataparser
        if config.data is not None:
            config.dataparser.data = config.data
        config.data = config.dataparser.data
        self.dataparser = config.dataparser.setup()
        self.includes_time = self.dataparser.includes_time
        self.train_dataparser_outputs = self.dataparser.get_dataparser_outputs(split="train")
        self.clips = self.train_dataparser_outputs.metadata["clips"].with_reader(config.cache_gb)
        self.reader = self.clips.reader
        self.train_dataset = self.create_train_dataset()
        self.eval_dataset = self.create_eval_dataset()
        self.exclude_batch_keys_from_device = self.train_dataset.exclude_batch_keys_from_device
        size = BatchSize(config.identities_per_batch, config.frames_per_identity)
        clips = self.clips
        self.clip_sampler = ClipSampler(clips.table, clips.identity_of_clip, clips.held_out, size, config.seed)
        self._check_batch()
        self._broken: dict[int, DataError] = {}
        self._background = ThreadPoolExecutor(1, "next-frames")
        self._ahead: tuple[int, Future[Batch]] | None = None
        # Not VanillaDataManager's: it compares the sizes of all cameras one by one, minutes for millions of frames.
        DataManager.__init__(self)

    def create_train_dataset(self) -> ClipDataset:
        """One camera per training frame."""
        return ClipDataset(self.train_dataparser_outputs, self.clips)

    def create_eval_dataset(self) -> ClipDataset:
        """One camera per evaluation frame."""
        return ClipDataset(self.dataparser.get_dataparser_outputs(split=self.test_split), self.clips)

    def setup_train(self) -> None:
        """Does nothing, because frames are decoded as they are drawn."""

    def setup_eval(self) -> None:
        """Sets up whole frames, in order and at random."""
        self.fixed_indices_eval_dataloader = FixedIndicesEvalDataloader(self.eval_dataset, device=self.device)
        self.eval_dataloader = RandIndicesEvalDataloader(self.eval_dataset, device=self.device)

    def next_train(self, step: int) -> Batch:
        """Frames of a step for this process, grouped by identity.

        Returns:
            Cameras (batch), and for each frame: `image` (batch, size, size, 3) from 0 to 1; `mask` (batch, size, size,
            1) from 0 to 1, or ones if there is none; `has_mask` (batch) as bool; `clip`, `identity` (-1 if not trained
            on) and `frame` (batch) as long.
        """
        self.train_count += 1
        ready_for, ready = self._ahead or (None, None)
        batch = ready.result() if ready is not None and ready_for == step else self._train_batch(step)
        if self.config.prefetch:
            self._ahead = step + 1, self._background.submit(self._train_batch, step + 1)
        return self._on_device(*batch)

    def frames_of_step(self, step: int) -> list[str]:
        """The frames that a step learns from, for messages."""
        rows = self.clip_sampler.rows(step, self._rank(), self.world_size)[:, 1:].tolist()
        return [f"{self.reader.table[clip].name}, frame {frame}" for clip, frame in rows]

    def next_eval(self, step: int) -> Batch:
        """As many evaluation frames as in training, sorted by clip."""
        self.eval_count += 1
        rows = self.eval_dataset.rows
        count = min(self.clip_sampler.size.identities * self.config.frames_per_identity, len(rows))
        draw = np.random.default_rng([self.config.seed, step, self.local_rank])
        chosen = np.sort(draw.choice(len(rows), count, replace=False))
        return self._on_device(*self._whole_batch(self.eval_dataset, rows[torch.from_numpy(chosen)]))

    def next_eval_image(self, step: int) -> Batch:
        """One frame, chosen by the step number; only its camera has a batch dimension."""
        index = int(np.random.default_rng([self.config.seed, step]).integers(len(self.eval_dataset)))
        row = self.eval_dataset.rows[index : index + 1]
        cameras, batch = self._on_device(*self._whole_batch(self.eval_dataset, row))
        return cameras, {key: value[0] for key, value in batch.items()} | {"image_idx": torch.tensor(index)}

    def get_train_rays_per_batch(self) -> int:
        """Number of pixels per step in this process."""
        size = self.clip_sampler.size
        return size.identities * size.frames * self.reader.size**2 // self.world_size

    def get_eval_rays_per_batch(self) -> int:
        """Number of pixels in evaluation, the same as in training."""
        return self.get_train_rays_per_batch()

    def _train_batch(self, step: int) -> Batch:
        rows = torch.from_numpy(self.clip_sampler.rows(step, self._rank(), self.world_size))
        return self._whole_batch(self.train_dataset, rows[:, 1:])

    def _whole_batch(self, dataset: ClipDataset, rows: Int[Tensor, "rows 2"]) -> Batch:
        """The batch of some frames; those of clips that turn out to be broken are replaced by the next whole clip's.

        Raises:
            DataError: when no whole clip is left.
        """
        while True:
            rows = torch.tensor([self._instead(clip, frame) for clip, frame in rows.tolist()]).view(-1, 2)
            try:
                return self._batch(dataset, rows)
            except DataError as error:
                self._leave_out(rows, error)

    def _instead(self, clip: int, frame: int) -> tuple[int, int]:
        """A frame of a clip or, if that is broken, of the next of its split that is not."""
        if clip not in self._broken:
            return clip, frame
        table = self.reader.table
        others = [other for other in table.of_split(table[clip].split) if other not in self._broken]
        if not others:
            raise self._broken[clip]
        chosen = next((other for other in others if other > clip), others[0])
        return chosen, frame % table[chosen].frames

    def _leave_out(self, rows: Int[Tensor, "rows 2"], error: DataError) -> None:
        """Finds which of a batch's clips cannot be read, and tells of it once."""
        known = len(self._broken)
        for clip, frame in rows.tolist():
            if clip not in self._broken:
                try:
                    self.reader.read(clip, frame)
                except DataError as reason:
                    self._broken[clip] = reason
                    told = (
                        f"{reason.file}: {reason.found}. The clip is left out from now on: other clips take its place."
                    )
                    CONSOLE.print(told, markup=False)
        if len(self._broken) == known:
            raise error

    def _batch(self, dataset: ClipDataset, rows: Int[Tensor, "rows 2"]) -> Batch:
        return clip_cameras(self.reader.table, rows, self.reader.size), dataset.frames(rows)

    def _on_device(self, cameras: Cameras, batch: dict[str, Tensor]) -> Batch:
        return cameras.to(self.device), {key: value.to(self.device) for key, value in batch.items()}

    def _rank(self) -> int:
        """Rank of this process among all machines; nerfstudio only gives its rank on this one."""
        return distributed.get_rank() if distributed.is_initialized() else self.local_rank

    def _check_batch(self) -> None:
        identities = self.clip_sampler.size.identities
        if identities % self.world_size:
            share = math.ceil(identities / self.world_size) * self.world_size
            raise ValueError(
                f"{identities} identities a step cannot be shared by {self.world_size} processes. "
                f"Use --pipeline.datamanager.identities-per-batch {share}, or fewer processes."
            )
