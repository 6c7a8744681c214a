"""Rays against nerfstudio's own, and pixels against the regions they are to come from."""

from collections import Counter

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
from snapshot_folders import SIZE, write_preprocessed

from nerfstudio_avatars.instant_avatar.data.frame_ray_sampler import FrameRaySampler, Sampling
from nerfstudio_avatars.instant_avatar.data.frame_rays import FrameRaysDataManagerConfig
from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_preprocessed(tmp_path_factory.mktemp("data") / "one")


@pytest.fixture
def manager(folder):
    def build(test_mode="val", **options):
        parser = PeopleSnapshotDataParserConfig(data=folder, downscale_factor=1, body="standin")
        config = FrameRaysDataManagerConfig(dataparser=parser, **({"rays_per_frame": 200} | options))
        return config.setup(device="cpu", test_mode=test_mode)

    return build


def test_rays_are_nerfstudios(manager):
    data = manager()
    rays, batch = data.next_train(0)
    indices = batch["indices"]
    expected = data.train_dataset.cameras.generate_rays(indices[:, :1], coords=indices[:, 1:] + 0.5)
    torch.testing.assert_close(rays.directions, expected.directions, atol=1e-5, rtol=0)
    torch.testing.assert_close(rays.origins, expected.origins, atol=1e-5, rtol=0)
    torch.testing.assert_close(rays.pixel_area, expected.pixel_area, atol=0, rtol=0.05)
    assert torch.equal(rays.metadata["frame"], expected.metadata["frame"])
    assert torch.equal(rays.camera_indices, indices[:, :1])


def test_colours_are_those_of_the_pixels_and_frames_stand_together(manager):
    data = manager()
    rays, batch = data.next_train(0)
    image, row, column = batch["indices"].unbind(-1)
    assert torch.equal(batch["image"], data.train_dataset.pictures.load()[image, row, column].float() / 255)
    frames, counts = torch.unique_consecutive(rays.metadata["frame"], return_counts=True)
    assert torch.equal(frames, batch["frame"]) and counts.tolist() == [200, 200]


def test_nearly_all_rays_meet_the_person(manager):
    _, batch = manager(mask_dilation=2).next_train(0)
    _, row, column = batch["indices"].unbind(-1)
    near = (row >= 6) & (row < 42) & (column >= 14) & (column < 34)
    assert near.float().mean().item() == pytest.approx(0.95)
    assert row.min() >= 4 and row.max() < 44 and column.min() >= 12 and column.max() < 36


def test_every_frame_comes_equally_often(manager):
    data = manager(rays_per_frame=4)
    batches = [data.next_train(step)[1]["frame"].tolist() for step in range(12)]
    seen = Counter(frame for batch in batches for frame in batch)
    assert all(len(set(batch)) == 2 for batch in batches)
    assert set(seen.values()) == {4} and set(seen) == {0, 1, 2, 4, 5, 6}


def test_patches_are_squares_centred_on_the_person(manager):
    data = manager(sampler="patch", patch_size=8, rays_per_frame=3 * 64)
    _, batch = data.next_train(0)
    patches = batch["indices"].view(2, 3, 8, 8, 3)
    assert (patches[..., 1:, :, 1] - patches[..., :-1, :, 1] == 1).all()
    assert (patches[..., :, 1:, 2] - patches[..., :, :-1, 2] == 1).all()
    centre = patches[..., 4, 4, :]
    masks = data.train_dataset.pictures.load()[..., 3]
    assert (masks[centre[..., 0], centre[..., 1], centre[..., 2]] == 255).all()
    assert len({tuple(place) for place in centre[0].tolist()}) == 3


def test_edge_rays_follow_the_silhouette_in_both_directions(manager):
    _, batch = manager(sampler="edge", edge_width=2, outside_share=0.0).next_train(0)
    _, row, column = batch["indices"].unbind(-1)
    inner = (row >= 10) & (row < 38) & (column >= 18) & (column < 30)
    outer = (row < 6) | (row >= 42) | (column < 14) | (column >= 34)
    assert not (inner | outer).any()
    assert (row < 10).any() and (column < 18).any()


def test_the_same_seed_draws_the_same_rays(manager):
    torch.manual_seed(3)
    first = manager().next_train(0)[1]["indices"]
    torch.manual_seed(3)
    assert torch.equal(manager().next_train(0)[1]["indices"], first)


def test_evaluation_gets_whole_rgba_pictures_with_their_frame(manager):
    data = manager("test")
    pairs = list(data.fixed_indices_eval_dataloader)
    assert [int(camera.metadata["frame"]) for camera, _ in pairs] == [3, 7]
    assert all(batch["image"].shape == (SIZE, SIZE, 4) for _, batch in pairs)
    camera, batch = data.next_eval_image(0)
    assert camera.shape == (1,) and batch["image"].shape[-1] == 4
    assert set(data.next_eval(0)[1]["frame"].tolist()) <= {3, 7}


def test_thumbnails_and_ns_render_get_pictures_on_white(manager):
    image = manager().train_dataset[0]["image"]
    assert image.shape == (SIZE, SIZE, 3)
    assert (image[0, 0] == 1).all() and image[20, 24, 0] > 0.7


def test_nothing_is_decoded_before_it_is_asked_for(manager):
    data = manager("inference")
    assert data.train_dataset.metadata["pictures"].source._blocks == {}
    assert isinstance(data.config, VanillaDataManagerConfig) and data.includes_time
    assert data.get_train_rays_per_batch() == 400 and data.get_datapath().name == "one"
    assert np.isfinite(data.next_train(0)[0].directions.numpy()).all()


def test_details_get_their_share_of_the_rays():
    images = torch.zeros(2, 40, 40, 4, dtype=torch.uint8)
    images[:, 10:30, 10:30] = 255
    details = torch.zeros(2, 40, 40, dtype=torch.bool)
    details[0, 10:14, 10:14] = True
    details[1, :5, :5] = True  # where nobody is
    pose = torch.eye(4)[None, :3].expand(2, 3, 4)
    cameras = Cameras(pose, 40.0, 40.0, 20.0, 20.0, 40, 40)
    sampling = Sampling(2, 1000, "mask", 0, 0.0, 0.3, 8, 2)
    _, batch = FrameRaySampler(images, cameras, torch.tensor([0, 1]), sampling, 0, details).sample()
    image, row, column = batch["indices"].unbind(-1)
    within = ((row < 14) & (column < 14)).float()
    # 300 rays and 16 of 400 pixels of the other 700; without details, 16 of 400.
    assert within[image == 0].sum() == pytest.approx(328, abs=20) and within[image == 1].sum() == pytest.approx(
        40, abs=25
    )
    assert (batch["image"][:, 3] == 1).all()
