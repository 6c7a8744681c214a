"""A training step does not wait for the GPU, for any number of frames, rays and samples.

What remains, and why:
- `_read`: the first steps read their sizes, from which the budget follows; so do poses that are kept.
- Every 16th step, `settle`: a budget for what the last steps needed.
"""

from collections import Counter

import pytest
import torch
from host_waits import HostWaits
from small_training import SmallTraining, take_many_points_at_once

from nerfstudio_avatars.demo import draw_demo_sequence

ON_HOST = ("dynamic_sizes.py:send", "frame_ray_sampler.py:_")
"""Numbers of frames, which go to the device without waiting for it: made on the host."""
SETTLING = Counter({"dynamic_sizes.py:_read": 1})


class Training(SmallTraining):
    """Counts where it waits."""

    def waits(self, step: int) -> Counter:
        """Where one step waits."""
        with HostWaits() as found:
            self.step(step)
        print(*found.lines, sep="\n")
        # The plain search and the plain encoding wait; their Triton twins do not.
        left_out = (*ON_HOST, "snarf.py", "hash_grid.py")
        return Counter({place: n for place, n in found.waits.items() if not place.startswith(left_out)})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_demo_sequence(tmp_path_factory.mktemp("tiny"), size=64, frames=16)


@pytest.mark.slow
@pytest.mark.parametrize("frames", [1, 3])
def test_a_training_step_does_not_wait(data, monkeypatch, frames):
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
    training = Training(data, frames, "cpu")
    training.model.config.refine_from = 1.0
    for step in range(4):
        assert training.waits(step)["dynamic_sizes.py:_read"]
    training.waits(16)
    posed = Counter({"dynamic_sizes.py:_read": 1})
    assert training.waits(17) <= posed  # Frames that are seen for the first time.
    training.model.config.refine_from = 0.0
    for step in (18, 19, 20):
        # How large posed bins are is not known before poses move.
        assert training.waits(step)["dynamic_sizes.py:_read"] == 1
    assert training.waits(32) == SETTLING
    assert training.waits(33) == training.waits(36) == Counter()
    assert training.model._budget.fits


@pytest.mark.slow
def test_neither_does_a_step_of_tritons_kernels(data, triton_device, monkeypatch):
    if triton_device == "cpu":
        take_many_points_at_once(monkeypatch)
    training = Training(data, 2, triton_device)
    training.model.config.refine_from = 0.0
    training.waits(0)
    assert training.waits(16) == SETTLING
    assert training.waits(17) == Counter()


def test_a_budget_changes_nothing(data, monkeypatch):
    """Losses and gradients with padding equal those of the sizes themselves."""
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
    training = Training(data, 2, "cpu")
    model = training.model
    model.config.refine_from, model.config.frame_light = 0.0, True
    for step in (0, 16):
        training.waits(step)
    bundle, batch = training.pipeline.datamanager.next_train(17)
    found = []
    for budget in (None, model._budget):
        model._budget = budget
        torch.manual_seed(1)
        outputs = model(bundle)
        losses = model.get_loss_dict(outputs, batch)
        parameters = [p for group in model.get_param_groups().values() for p in group]
        gradients = torch.autograd.grad(sum(losses.values()), parameters)
        found.append((losses, gradients))
    (exact, exact_gradients), (padded, gradients) = found
    assert model._budget.fits and len(model._budget.sizes) >= 3
    torch.testing.assert_close(padded, exact, rtol=1e-5, atol=1e-8)
    for one, other in zip(gradients, exact_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def test_a_step_beyond_its_budget_teaches_nothing(data, monkeypatch):
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
    training = Training(data, 2, "cpu")
    training.model.config.refine_from = 0.0
    training.waits(0)
    training.model._budget.settle()
    budget = training.model._budget
    budget.sizes["samples"], budget._limits["samples"] = [20], torch.tensor([20])
    known = training.model.frame_errors.error.clone()
    training.waits(1)
    assert not budget.fits
    torch.testing.assert_close(training.model.frame_errors.error, known)
    assert all(loss == 0 for loss in training.losses.values())
    assert not training.model.avatar.field.table.grad.any()
    for step in (16, 17, 18):  # Finds that more is needed, and reads how much.
        assert training.waits(step)["dynamic_sizes.py:_read"] and training.losses["rgb"] > 0
    training.waits(32)
    assert not training.waits(33)
    assert budget.fits and training.losses["rgb"] > 0
