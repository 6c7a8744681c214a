"""Steps whose loss is not a finite number teach nothing; if they do not cease, the training goes back, then stops."""

import copy
import math

import pytest
import torch
from recorded_training import at_step

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.checkpoints import checkpoints_in, read_checkpoint

pytestmark = pytest.mark.slow

STEPS = 12


@pytest.fixture(params=["person", "heads"])
def trainer(request, person_data, head_clips, tmp_path):
    data, name = (person_data, "small_person") if request.param == "person" else (head_clips, "small_volanim")
    trainer = request.getfixturevalue(name)(data, tmp_path, steps=STEPS).setup()
    trainer.setup()
    yield trainer
    trainer._release()


def poison(trainer, what, steps):
    """Makes pictures, poses or the loss of some steps NaN."""
    pipeline, model = trainer.pipeline, trainer.pipeline.model
    now = iter(range(trainer.config.max_num_iterations))
    poisoned = set()

    def spoilt(value):
        return value * math.nan if poisoned else value

    def get_train_loss_dict(step):
        poisoned.clear()
        if next(now) in steps:
            poisoned.add(step)
        outputs, losses, metrics = inner(step)
        return outputs, {key: spoilt(one) if what == "loss" else one for key, one in losses.items()}, metrics

    def next_train(step):
        rays, batch = take(step)
        return rays, batch | ({"image": spoilt(batch["image"])} if what == "pictures" else {})

    inner, pipeline.get_train_loss_dict = pipeline.get_train_loss_dict, get_train_loss_dict
    take, pipeline.datamanager.next_train = pipeline.datamanager.next_train, next_train
    if what == "poses":
        poses, model.training_poses = model.training_poses, lambda frames: spoilt(poses(frames))


def parameters(trainer):
    return copy.deepcopy({name: one.data for name, one in trainer.pipeline.model.named_parameters()})


def assert_equal(ours, theirs):
    for name, one in ours.items():
        assert torch.equal(one, theirs[name]), name


@pytest.mark.parametrize(
    ("trainer", "what"),
    [("person", "loss"), ("person", "pictures"), ("person", "poses"), ("heads", "loss"), ("heads", "pictures")],
    indirect=["trainer"],
)
def test_an_unsound_step_is_left_out_and_counted(what, trainer, capsys):
    poison(trainer, what, {5})
    seen = {}
    for step in (5, 6, 7):
        at_step(trainer, step, lambda step=step: seen.update({step: parameters(trainer)}))
    trainer.train()
    assert_equal(seen[5], seen[6])
    assert any(not torch.equal(one, seen[7][name]) for name, one in seen[6].items()), "the next step teaches again"
    out = " ".join(capsys.readouterr().out.split())
    assert "Step 5: the loss is not a finite number" in out and "not finite: 1 (" in out and "frame " in out
    assert read_checkpoint(checkpoints_in(trainer.checkpoint_dir)[-1]).step == STEPS - 1


def test_after_three_in_a_row_the_last_good_state_is_restored_at_half_the_rate(trainer, capsys):
    poison(trainer, "loss", {4, 5, 6})
    seen, rates = {}, {}
    for step in (0, 1, 7):
        at_step(trainer, step, lambda step=step: seen.update({step: parameters(trainer)}))
        at_step(trainer, step, lambda step=step: rates.update({step: group_rates(trainer)}))
    expected = {}
    at_step(trainer, 6, lambda: expected.update(scheduled_rates(trainer)))
    trainer.train()
    assert_equal(seen[7], seen[0])
    assert any(not torch.equal(one, seen[1][name]) for name, one in seen[0].items()), "it had learnt meanwhile"
    assert rates[7] == pytest.approx({name: rate / 2 for name, rate in expected.items()})
    out = " ".join(capsys.readouterr().out.split())
    assert "Weights are again those of step 0, and the learning rate is half" in out and "not finite: 3" in out
    assert read_checkpoint(checkpoints_in(trainer.checkpoint_dir)[-1]).step == STEPS - 1


def group_rates(trainer):
    return {name: one.param_groups[0]["lr"] for name, one in trainer.optimizers.optimizers.items()}


def scheduled_rates(trainer):
    """Rates of the step after this one."""
    rates = {}
    for name, one in trainer.optimizers.schedulers.items():
        (rate,), (factor,) = one.base_lrs, one.lr_lambdas
        rates[name] = rate * factor(one.last_epoch + 1)
    return rates


def test_if_going_back_does_not_help_the_frames_are_named(trainer, capsys):
    poison(trainer, "loss", set(range(4, STEPS)))
    with pytest.raises(UserError, match="again after half the learning rate") as error:
        trainer.train()
    names = {name for step in (7, 8, 9) for name in trainer.pipeline.datamanager.frames_of_step(step)}
    assert any(name in str(error.value) for name in names)
    assert "--load-dir" in capsys.readouterr().out
    state = read_checkpoint(checkpoints_in(trainer.checkpoint_dir)[-1]).state
    assert all(one.isfinite().all() for one in state["pipeline"].values() if isinstance(one, torch.Tensor))
