"""What data may be like: odd sizes, few people, transparency, no masks, clips that are gone."""

import cv2
import numpy as np
import pytest
import torch

SIZE = 32


def build(folder, small_volanim, tmp_path, size=SIZE, code_size=3):
    config = small_volanim(folder, tmp_path)
    config.pipeline.datamanager.dataparser.image_size = size
    config.pipeline.model.network.generator.code_size = code_size
    return config.pipeline.setup(device="cpu", test_mode="val")


def step_once(pipeline):
    """At the beginning and, articulated, at the end."""
    for step in (0, pipeline.model.config.max_steps):
        pipeline.model.begin_step(step)
        terms = pipeline.get_train_loss_dict(0)[1]
        assert all(value.isfinite() for value in terms.values())
        torch.stack(list(terms.values())).sum().backward()
        assert all(one.grad is None or one.grad.isfinite().all() for one in pipeline.model.network.parameters())
    return terms


@pytest.mark.parametrize("size", [31, 45])
def test_odd_resolutions_train_and_render(size, head_clips, small_volanim, tmp_path):
    pipeline = build(head_clips, small_volanim, tmp_path, size)
    step_once(pipeline)
    camera, _ = pipeline.datamanager.next_eval_image(0)
    assert pipeline.model.eval().get_outputs_for_camera(camera)["rgb"].shape == (size, size, 3)


def test_fewer_identities_than_a_code_has_numbers(head_clips, small_volanim, tmp_path):
    """Their covariance is singular but for the shrinkage."""
    pipeline = build(head_clips, small_volanim, tmp_path, code_size=64)
    step_once(pipeline)
    codes = pipeline.model.network.embedding(torch.arange(4))
    assert codes.isfinite().all() and codes.abs().max() < 10


def test_a_single_identity(head_clips, small_volanim, tmp_path):
    pipeline = build(lonely(head_clips, tmp_path), small_volanim, tmp_path)
    assert pipeline.model.network.embedding.table.shape[0] == 1
    step_once(pipeline)


def lonely(head_clips, folder):
    """The first clip alone, without masks."""
    clip = sorted((head_clips / "train").iterdir())[0]
    (folder / "one" / "train").mkdir(parents=True)
    (folder / "one" / "train" / clip.name).symlink_to(clip)
    return folder / "one"


def test_transparent_frames_are_laid_on_black_and_their_alpha_is_the_mask(small_volanim, tmp_path):
    draw = np.random.default_rng(0)
    for clip in ("id1#a#000000#000009", "id2#a#000000#000009"):
        (tmp_path / "data" / "train" / clip).mkdir(parents=True)
        for frame in range(9):
            rgba = draw.integers(0, 255, (40, 40, 4), np.uint8)
            rgba[:, :20, 3], rgba[:, 20:, 3] = 255, 0
            cv2.imwrite(str(tmp_path / "data" / "train" / clip / f"{frame:07d}.png"), rgba)
    pipeline = build(tmp_path / "data", small_volanim, tmp_path)
    assert "mask" in step_once(pipeline)
    _, batch = pipeline.datamanager.next_train(0)
    assert (batch["image"][:, :, 17:] == 0).all() and (batch["mask"][:, :, 17:] == 0).all()
    assert (batch["mask"][:, :, :15] == 1).all()


def test_without_masks_there_is_no_loss_of_them(head_clips, small_volanim, tmp_path):
    pipeline = build(lonely(head_clips, tmp_path), small_volanim, tmp_path)
    assert "mask" not in step_once(pipeline)


def test_a_clip_that_is_gone_is_named(head_clips, small_volanim, tmp_path):
    from shutil import copytree, rmtree

    from nerfstudio_avatars.errors import DataError

    data = copytree(head_clips, tmp_path / "data")
    pipeline = build(data, small_volanim, tmp_path)
    clip = sorted((data / "train").iterdir())[1]
    rmtree(clip)
    with pytest.raises(DataError, match=clip.name):
        pipeline.model.driving_pose(1, 0)
