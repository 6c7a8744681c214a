"""Batches against the clips they come from, and everything nerfstudio's commands ask a datamanager for."""

import copy
import os
import pickle

import numpy as np
import pytest
import torch
import yaml
from clip_files import number_of, write_folder, write_mask, write_video
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader
from nerfstudio.scripts.render import _disable_datamanager_setup

from nerfstudio_avatars.unsup_volanim.data.clip_frames import ClipFramesDataManagerConfig
from nerfstudio_avatars.unsup_volanim.data.dataparsers import ImageFoldersDataParserConfig, VoxCelebDataParserConfig

SIZE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("vox")
    write_folder(root / "train" / "id1#a#0#20", 20)
    for person in (2, 3, 4):
        write_video(root / "train" / f"id{person}#b#0#17.mp4", 17)
    write_video(root / "test" / "id9#c#0#12.mp4", 12)
    for frame in range(20):
        write_mask(root / "masks" / "id1#a#0#20" / f"{frame:07d}.png")
    return root


@pytest.fixture
def manager(folder):
    def build(test_mode="val", world_size=1, local_rank=0, **options):
        parser = VoxCelebDataParserConfig(data=folder, image_size=SIZE)
        config = ClipFramesDataManagerConfig(dataparser=parser, **options)
        return config.setup(device="cpu", test_mode=test_mode, world_size=world_size, local_rank=local_rank)

    return build


def test_a_batch_is_what_its_cameras_say(manager):
    data = manager()
    for step in range(6):
        cameras, batch = data.next_train(step)
        assert cameras.shape == (8,)
        assert batch["image"].shape == (8, SIZE, SIZE, 3) and batch["image"].dtype == torch.float32
        assert batch["mask"].shape == (8, SIZE, SIZE, 1) and batch["mask"].dtype == torch.float32
        assert all(batch[key].shape == (8,) and batch[key].dtype == torch.long for key in ("clip", "identity", "frame"))
        assert [number_of(image * 255) for image in batch["image"].numpy()] == batch["frame"].tolist()
        assert torch.equal(cameras.metadata["frame"][:, 0], batch["frame"])
        assert torch.equal(cameras.metadata["clip"][:, 0], batch["clip"])
        assert torch.equal(batch["identity"], batch["clip"])
        assert len(torch.unique_consecutive(batch["identity"])) == 2


def test_masks_are_told_from_missing_ones(manager):
    _, batch = manager(identities_per_batch=4).next_train(0)
    masked = batch["clip"] == 0
    assert torch.equal(batch["has_mask"], masked) and masked.sum() == 4
    assert (batch["mask"][~masked] == 1).all()
    assert (batch["mask"][masked, :, :16] == 1).all() and (batch["mask"][masked, :, 16:] == 0).all()


def test_training_that_was_killed_goes_on_with_the_same_batches(manager):
    going_on = manager()
    rows = [(b["clip"].tolist(), b["frame"].tolist()) for b in (going_on.next_train(step)[1] for step in range(6))]
    torch.manual_seed(7)
    again = manager().next_train(5)[1]
    assert (again["clip"].tolist(), again["frame"].tolist()) == rows[5] != rows[4]
    other = manager(seed=1).next_train(5)[1]
    assert (other["clip"].tolist(), other["frame"].tolist()) != rows[5]


def test_decoding_ahead_changes_nothing(manager):
    ahead, not_ahead = manager(), manager(prefetch=False)
    for step in (0, 1, 2, 7, 3, 4):
        one, other = ahead.next_train(step)[1], not_ahead.next_train(step)[1]
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_processes_share_the_step_of_one(manager):
    whole = manager().next_train(3)[1]
    parts = [manager(world_size=2, local_rank=rank).next_train(3)[1] for rank in (0, 1)]
    for key in ("clip", "frame", "image"):
        assert torch.equal(torch.cat([part[key] for part in parts]), whole[key])
    with pytest.raises(ValueError, match="identities-per-batch 3"):
        manager(world_size=3)


def test_held_out_frames_are_evaluated_on_whatever_the_command_calls_them(manager):
    for mode in ("val", "test"):
        data = manager(mode)
        pairs = list(data.fixed_indices_eval_dataloader)
        assert [(int(b["clip"]), int(b["frame"])) for _, b in pairs] == [(c, f) for c in range(4) for f in (7, 15)]
        for camera, batch in pairs:
            assert camera.shape == (1,) and batch["image"].shape == (SIZE, SIZE, 3)
            assert int(camera.metadata["frame"]) == int(batch["frame"]) == number_of(batch["image"].numpy() * 255)
    assert set(data.next_eval(0)[1]["frame"].tolist()) == {7, 15}
    assert data.next_eval(0)[0].shape == (8,)


def test_one_evaluation_picture_has_no_batch_dimension(manager):
    data = manager()
    camera, batch = data.next_eval_image(4)
    assert camera.shape == (1,) and batch["image"].shape == (SIZE, SIZE, 3) and batch["mask"].shape == (SIZE, SIZE, 1)
    assert batch["frame"].shape == batch["has_mask"].shape == batch["image_idx"].shape == ()
    assert data.eval_dataset.cameras[int(batch["image_idx"])].metadata["frame"] == batch["frame"]
    assert len({int(data.next_eval_image(step)[1]["image_idx"]) for step in range(40)}) > 4


def test_people_never_trained_on_have_no_identity(manager):
    data = manager("test", eval_split="people")
    _, batch = data.next_eval(0)
    assert set(batch["clip"].tolist()) == {4} and set(batch["identity"].tolist()) == {-1}
    assert len(data.eval_dataset) == 12
    assert data.eval_dataset.metadata["clips"].identities == data.train_dataset.metadata["clips"].identities


def test_clips_can_drive_others(manager):
    data = manager("inference")
    assert [number_of(frame) for frame in data.reader.read_clip(4)] == list(range(12))
    driving = data.train_dataset.metadata["clips"]
    frame = driving.frame(4, 5)
    assert frame.shape == (SIZE, SIZE, 3) and frame.dtype == torch.float32 and frame.max() <= 1
    assert number_of(frame.numpy() * 255) == 5
    assert copy.deepcopy(driving).reader is data.reader
    assert number_of(pickle.loads(pickle.dumps(driving)).frame(4, 5).numpy() * 255) == 5


def test_what_ns_render_and_the_viewer_ask_for_is_there(manager):
    data = manager("test")
    assert isinstance(data, VanillaDataManager) and isinstance(data.config, VanillaDataManagerConfig)
    assert data.includes_time and data.get_datapath() == data.config.dataparser.data
    assert data.get_param_groups() == {} and data.get_train_rays_per_batch() == 8 * SIZE**2
    camera, _ = data.eval_dataloader.get_camera(image_idx=0)
    assert camera.fx.dtype == torch.float32 and camera.times is not None
    thumbnail = data.train_dataset[3]
    assert thumbnail["image"].shape == (SIZE, SIZE, 3) and data.train_dataset.cameras[3].shape == ()
    assert data.train_dataset.get_data(3, "uint8")["image"].dtype == torch.uint8
    picture = data.train_dataset.get_numpy_image(3)
    picture[:] = 7  # one's own
    assert picture.shape == (SIZE, SIZE, 3) and torch.equal(data.train_dataset[3]["image"], thumbnail["image"])
    with _disable_datamanager_setup(type(data)):
        data = manager("test")
    names = data.eval_dataset._dataparser_outputs.image_filenames
    root = os.path.commonpath(names)
    loader = FixedIndicesEvalDataloader(input_dataset=data.eval_dataset, device=data.device, num_workers=4)
    assert len({name.relative_to(root) for name in names}) == len(list(loader)) == 8


def test_nothing_is_decoded_before_it_is_asked_for(manager):
    data = manager("inference")
    assert len(data.reader._cache) == 0 and not data.reader._videos
    assert data.next_train(0)[1]["image"].isfinite().all()


def test_the_configuration_can_be_written_and_read(manager, folder):
    config = manager().config
    again = yaml.load(yaml.dump(config), Loader=yaml.Loader)
    assert again.dataparser == config.dataparser and again.data == folder
    assert again.setup(device="cpu").next_train(2)[1]["frame"].shape == (8,)


def test_pictures_make_batches_too(tmp_path):
    write_folder(tmp_path, 5)
    config = ClipFramesDataManagerConfig(
        dataparser=ImageFoldersDataParserConfig(image_size=SIZE, test_share=0), data=tmp_path, frames_per_identity=1
    )
    data = config.setup(device="cpu")
    _, batch = data.next_train(0)
    assert [number_of(image * 255) for image in batch["image"].numpy()] == batch["identity"].tolist()
    assert len(data.eval_dataset) == 5


def test_millions_of_frames_are_no_trouble(tmp_path, monkeypatch):
    """Setting up takes no time per camera: 20 clips that claim to be of 50 000 frames."""
    for number in range(20):
        write_folder(tmp_path / f"clip{number}", 1, size=8)
    found = "nerfstudio_avatars.unsup_volanim.data.clip_folders.FoundClip.frames"
    monkeypatch.setattr(found, property(lambda clip: 50_000))
    monkeypatch.setattr(
        "nerfstudio_avatars.unsup_volanim.data.clip_parser.ClipsDataParser._has_masks", lambda *_: False
    )
    parser = VoxCelebDataParserConfig(data=tmp_path, image_size=8, test_share=0)
    data = ClipFramesDataManagerConfig(dataparser=parser).setup(device="cpu", test_mode="inference")
    assert len(data.train_dataset) == 875_000 and len(data.eval_dataset) == 512
    assert data.train_dataset.cameras.camera_to_worlds.stride()[0] == 0
    rows = data.clip_sampler.rows(123_456)
    assert rows.shape == (8, 3) and np.isfinite(rows).all()
