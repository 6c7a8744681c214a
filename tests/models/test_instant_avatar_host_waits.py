"""How often one training step waits for the GPU: a fixed number of times, for any number of frames, rays and samples.

What remains, and why:
- `sample`: the drawn frames' numbers go to the device. At the step's very beginning, where little is to be waited for.
- `get_outputs`: which rays belong to which frame decides how the batch is cut.
- `run_together`: the march's three sizes (samples in occupied bins, their roots, what is left of both) and, while poses
  move, the posed bins' number; each once for all frames. A fixed budget would need neither, but evaluates the field at
  padding: while the whole band is occupied there are several times as many samples as at the end, and what exceeds a
  budget is lost.
- `smoothness`: the list of trained frames.
Every 16th step, after the occupancy: the rows that are occupied, and the cells that are not.
"""

import copy
from collections import Counter

import pytest
import torch
from host_waits import HostWaits

from nerfstudio_avatars.data.demo import draw_demo_sequence
from nerfstudio_avatars.methods import instant_avatar
from nerfstudio_avatars.trainer import fit_schedules

FIXED = Counter(
    {
        "frame_ray_sampler.py:sample": 1,
        "instant_avatar.py:get_outputs": 1,
        "host_reads.py:run_together": 3,
    }
)
ON_HOST = ("frame_ray_sampler.py:_next_images", "outlier_frames.py:outliers")
"""A permutation and a constant that were made on the host: no GPU is waited for."""
MOVING = FIXED + Counter({"host_reads.py:run_together": 1, "pose_table.py:smoothness": 1})
REFRESH = MOVING + Counter({"occupancy.py:occupied_rows": 1, "occupancy.py:empty_points": 1})


class Training:
    """The GPU's method, made small."""

    def __init__(self, data, frames: int, device: str) -> None:
        config = copy.deepcopy(instant_avatar.config)
        config.max_num_iterations = 40
        manager, model = config.pipeline.datamanager, config.pipeline.model
        manager.data, manager.frames_per_batch, manager.rays_per_frame = data, frames, 8
        model.avatar.cell_size, model.avatar.field.levels, model.avatar.field.log2_table_size = 0.06, 3, 8
        model.occupancy_warmup = 16
        fit_schedules(config)
        torch.manual_seed(0)
        self.pipeline = config.pipeline.setup(device=device, test_mode="test")
        self.pipeline.train()
        self.callback = self.pipeline.get_training_callbacks(None)[0]
        groups = self.pipeline.model.get_param_groups()
        self.adam = [config.optimizers[name]["optimizer"].setup(group) for name, group in groups.items()]
        self.pipeline.datamanager.next_train(0)  # Decodes the pictures.

    def waits(self, step: int) -> Counter:
        """Where one step waits."""
        with HostWaits() as found:
            self.callback.run_callback(step)
            _, losses, _ = self.pipeline.get_train_loss_dict(step)
            for adam in self.adam:
                adam.zero_grad()
            sum(losses.values()).backward()
            for adam in self.adam:
                adam.step()
        print(*found.lines, sep="\n")
        return Counter({place: n for place, n in found.waits.items() if place not in ON_HOST})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_demo_sequence(tmp_path_factory.mktemp("tiny"), size=64, frames=16)


def around_specifications(waits: Counter) -> Counter:
    """Counts one read for the plain search's many, and none for the encoding's constants: Triton's twins have so."""
    around = Counter({place: n for place, n in waits.items() if not place.startswith(("snarf.py", "hash_grid.py"))})
    return around + Counter({"host_reads.py:run_together": 1})


@pytest.mark.parametrize("frames", [1, 3])
def test_a_training_step_waits_a_fixed_number_of_times(data, monkeypatch, frames):
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
    training = Training(data, frames, "cpu")
    model = training.pipeline.model
    model.config.refine_from = 1.0
    training.waits(0)
    posed = FIXED + Counter({"host_reads.py:run_together": 1})  # Frames that are seen for the first time.
    assert around_specifications(training.waits(1)) == posed
    model.config.refine_from = 0.0
    assert around_specifications(training.waits(2)) == MOVING
    assert around_specifications(training.waits(16)) == REFRESH
    assert around_specifications(training.waits(20)) == MOVING


@pytest.mark.slow
def test_a_step_of_tritons_kernels_waits_as_often(data, triton_device, monkeypatch):
    from nerfstudio_avatars.ops import _triton

    if triton_device == "cpu":
        monkeypatch.setattr(_triton, "_BLOCK", 4096)  # The interpreter takes as long for one point as for many.
    training = Training(data, 2, triton_device)
    training.pipeline.model.config.refine_from = 0.0
    assert training.waits(0) == REFRESH
