"""A training step does not wait for the GPU, for any number of frames, rays and samples.

What remains, and why:
- `_read`: the first steps read their sizes, from which the budget follows; so do poses that are kept.
- Every 16th step, `settle`: a budget for what the last steps needed; after an update of the occupancy, the rows that
  are occupied and the cells that are not.
"""

import copy
from collections import Counter

import pytest
import torch
from host_waits import HostWaits

from nerfstudio_avatars.data.demo import draw_demo_sequence
from nerfstudio_avatars.methods import instant_avatar
from nerfstudio_avatars.trainer import fit_schedules

ON_HOST = ("host_reads.py:send", "frame_ray_sampler.py:_", "outlier_frames.py:outliers")
"""Numbers that go to the device without waiting for it, frames and a constant: made on the host."""
REFRESH = Counter({"host_reads.py:_read": 1, "occupancy.py:occupied_rows": 1, "occupancy.py:empty_points": 1})


class Training:
    """The GPU's method, made small."""

    def __init__(self, data, frames: int, device: str) -> None:
        config = copy.deepcopy(instant_avatar.config)
        config.max_num_iterations = 40
        manager, model = config.pipeline.datamanager, config.pipeline.model
        manager.data, manager.frames_per_batch, manager.rays_per_frame = data, frames, 64
        model.avatar.cell_size, model.avatar.field.levels, model.avatar.field.log2_table_size = 0.06, 3, 8
        model.occupancy_warmup = 16
        fit_schedules(config)
        torch.manual_seed(0)
        self.pipeline = config.pipeline.setup(device=device, test_mode="test")
        self.pipeline.train()
        self.model = self.pipeline.model
        self.callback = self.pipeline.get_training_callbacks(None)[0]
        groups = self.model.get_param_groups()
        self.adam = [config.optimizers[name]["optimizer"].setup(group) for name, group in groups.items()]
        self.pipeline.datamanager.next_train(0)  # Decodes the pictures.

    def waits(self, step: int) -> Counter:
        """Where one step waits."""
        with HostWaits() as found:
            self.callback.run_callback(step)
            _, self.losses, _ = self.pipeline.get_train_loss_dict(step)
            for adam in self.adam:
                adam.zero_grad()
            sum(self.losses.values()).backward()
            for adam in self.adam:
                adam.step()
        print(*found.lines, sep="\n")
        # The plain search and the plain encoding wait; their Triton twins do not.
        left_out = (*ON_HOST, "snarf.py", "hash_grid.py")
        return Counter({place: n for place, n in found.waits.items() if not place.startswith(left_out)})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_demo_sequence(tmp_path_factory.mktemp("tiny"), size=64, frames=16)


@pytest.mark.parametrize("frames", [1, 3])
def test_a_training_step_does_not_wait(data, monkeypatch, frames):
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
    training = Training(data, frames, "cpu")
    training.model.config.refine_from = 1.0
    for step in range(4):
        assert training.waits(step)["host_reads.py:_read"]
    training.waits(16)
    posed = Counter({"host_reads.py:_read": 1})
    assert training.waits(17) <= posed  # Frames that are seen for the first time.
    training.model.config.refine_from = 0.0
    for step in (18, 19, 20):
        # How large posed bins are is not known before poses move.
        assert training.waits(step)["host_reads.py:_read"] == 1
    assert training.waits(32) == REFRESH
    assert training.waits(33) == training.waits(36) == Counter()
    assert training.model._budget.fits


@pytest.mark.slow
def test_neither_does_a_step_of_tritons_kernels(data, triton_device, monkeypatch):
    from nerfstudio_avatars.ops import _triton

    if triton_device == "cpu":
        monkeypatch.setattr(_triton, "_BLOCK", 4096)  # The interpreter takes as long for one point as for many.
    training = Training(data, 2, triton_device)
    training.model.config.refine_from = 0.0
    training.waits(0)
    assert training.waits(16) == REFRESH
    assert training.waits(17) == Counter()


def test_a_budget_changes_nothing(data, monkeypatch):
    """Losses and gradients with padding equal those of the sizes themselves."""
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
    training = Training(data, 2, "cpu")
    model = training.model
    model.config.refine_from = 0.0
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
    assert model._budget.fits and len(model._budget._sizes) >= 3
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
    budget._sizes["samples"], budget._limits["samples"] = [20], torch.tensor([20])
    known = training.model.frame_errors.error.clone()
    training.waits(1)
    assert not budget.fits
    torch.testing.assert_close(training.model.frame_errors.error, known)
    assert all(loss == 0 for loss in training.losses.values())
    assert not training.model.avatar.field.table.grad.any()
    for step in (16, 17, 18):  # Finds that more is needed, and reads how much.
        assert training.waits(step)["host_reads.py:_read"] and training.losses["rgb"] > 0
    training.waits(32)
    assert not training.waits(33)
    assert budget.fits and training.losses["rgb"] > 0
