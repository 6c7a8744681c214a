"""A training on wrong poses: they move towards the true ones; a flipped frame is put between others, and named."""

import copy
import json

import pytest
import torch
from wrong_poses import copy_with_poses, flipped, jittered, pose_error

from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.instant_avatar.data.people_snapshot_raw import read_poses
from nerfstudio_avatars.methods import instant_avatar_cpu

STEPS = 160
FLIPPED = 4


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_demo_sequence(tmp_path_factory.mktemp("drawn"), size=80, frames=32)


def training(data, output, **model):
    """The CPU method made very small, through the trainer."""
    config = copy.deepcopy(instant_avatar_cpu.config)
    config.max_num_iterations, config.steps_per_eval_image, config.vis = STEPS, 0, "tensorboard"
    config.output_dir, config.experiment_name, config.timestamp = output, "small", "run"
    config.logging.local_writer.enable = False
    manager = config.pipeline.datamanager
    manager.data, manager.dataparser.downscale_factor = data, 1
    manager.frames_per_batch, manager.rays_per_frame = 4, 64
    avatar = config.pipeline.model.avatar
    avatar.cell_size, avatar.field.levels, avatar.field.log2_table_size = 0.06, 6, 12
    for name, value in model.items():
        setattr(config.pipeline.model, name, value)
    config.save_config()
    torch.manual_seed(1)  # As ns-train does; not what the tests before have left.
    trainer = config.setup()
    trainer.setup()
    trainer.train()
    return config.get_base_dir() / "config.yml", trainer.pipeline.model


def motion_rows(motion):
    return torch.cat([motion.global_orient, motion.body_pose, motion.transl], 1)


@pytest.mark.slow
def test_wrong_poses_are_mended_and_a_flipped_frame_is_named(drawn, tmp_path, capsys):
    frames = json.loads((drawn / "splits.json").read_text())["train"]
    truth = read_poses(drawn)
    wrong = flipped(jittered(truth, frames, 3.0, 0.02), [FLIPPED])
    data = copy_with_poses(drawn, tmp_path / "wrong" / "demo-casual", wrong)
    config, model = training(data, tmp_path)

    # All but the flipped one. The dataparser turns and moves the world, which changes no distance between two poses of
    # one frame: the true poses take the way of the wrong ones.
    kept = torch.tensor([frame for frame in frames if frame != FLIPPED])
    stored, body = model.poses.stored(kept), model.person.body
    pelvis = body.rest(truth.betas)[1][0]
    turn = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]])
    shift = (stored[:, 72:] - wrong.in_frame(turn, torch.zeros(3), pelvis).transl[kept]).mean(0)
    true = motion_rows(truth.in_frame(turn, shift, pelvis))[kept]
    with torch.no_grad():
        mended = stored + model.poses.frame_correction[kept]
    before, after = (pose_error(poses, true, body, truth.betas) for poses in (stored, mended))
    assert before.joint_positions_cm > 5
    assert after.joint_positions_cm < 0.7 * before.joint_positions_cm
    assert after.root_cm < 0.8 * before.root_cm

    assert model.outlier_frames() == [FLIPPED]
    assert f"than the others: {FLIPPED}." in capsys.readouterr().out
    assert load_run(config).model.outlier_frames() == [FLIPPED]


@pytest.mark.slow
def test_true_poses_hold_no_outlier(drawn, tmp_path, capsys):
    _, model = training(drawn, tmp_path)
    assert model.frame_errors.visits[model.frame_errors.trained].min() > 0
    assert model.outlier_frames() == []
    assert "fit far worse" not in capsys.readouterr().out
