"""Recorded steps against the same steps unrecorded."""

import copy
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from simulated_graphs import NotRecordable, make_graphed_callables, simulated_graphs
from small_training import TRAINER, SmallTraining, take_many_points_at_once

from nerfstudio_avatars.demo import draw_demo_sequence
from nerfstudio_avatars.instant_avatar import empty_space
from nerfstudio_avatars.instant_avatar import model as instant_avatar
from nerfstudio_avatars.instant_avatar.cuda_graph import RecordedSteps, recordable
from nerfstudio_avatars.instant_avatar.dynamic_sizes import Budget

# Stand-ins for nerfstudio's trainer and rays.
pytestmark = pytest.mark.usefixtures("unchecked_types")

RECORDER = "torch.cuda.make_graphed_callables"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_demo_sequence(tmp_path_factory.mktemp("tiny"), size=64, frames=16)


@pytest.mark.slow
def test_recorded_steps_learn_what_others_learn(data, triton_device, monkeypatch):
    """Losses, metrics, weights and the frames' errors after a few steps, poses first fixed and then moving.

    A GPU records for real, with random numbers of its own and sums whose order is nobody's: there, roughly the same.
    """
    simulated = triton_device == "cpu"
    graphs = simulated_graphs() if simulated else mock.patch(RECORDER, wraps=torch.cuda.make_graphed_callables)
    nearness = {} if simulated else {"rtol": 0.5, "atol": 0.05}
    if simulated:
        take_many_points_at_once(monkeypatch)
    monkeypatch.setattr(instant_avatar, "recordable", lambda model, budget, trainer: budget)
    monkeypatch.setattr(empty_space, "PERIOD", 1)
    plain, recorded = (SmallTraining(data, 2, triton_device, cuda_graph=True, refine_from=0.45) for _ in range(2))
    with graphs as recorder:
        for step in (0, 16, 17, 18, 19):
            for training in (plain, recorded):
                torch.manual_seed(step)
                if step == 19:  # What is empty changes under a recorded step.
                    empty_one_half(training.model.avatar)
                    for most in training.model._budget._needed.values():
                        most.zero_()
                with pytest.MonkeyPatch.context() as only:
                    if training is plain:
                        only.setattr(RECORDER, lambda step, inputs, **_: step)
                    training.step(step)
            torch.testing.assert_close(recorded.losses, plain.losses, **nearness)
            assert recorder.call_count == {0: 0, 16: 1, 17: 1, 18: 2, 19: 2}[step]
    assert recorded.model.poses.frame_correction.grad.any()
    if simulated:
        torch.testing.assert_close(recorded.metrics, plain.metrics)
        torch.testing.assert_close(*(dict(pipeline.model.named_parameters()) for pipeline in (recorded, plain)))
        torch.testing.assert_close(*(dict(pipeline.model.named_buffers()) for pipeline in (recorded, plain)))
        torch.testing.assert_close(recorded.model._budget._needed, plain.model._budget._needed)


def empty_one_half(avatar):
    occupancy = avatar.occupancy
    occupancy.density[: len(occupancy.density) // 2] = 0
    occupancy._refresh()
    avatar.occupancy_changed()


class Model:
    """Counts its steps, and learns to be three times what it is given."""

    def __init__(self):
        self.factor = torch.nn.Parameter(torch.tensor([1.0]))
        self.pose = torch.nn.Parameter(torch.tensor([0.5]), requires_grad=False)
        self.frame_errors = torch.nn.Module()
        self.frame_errors.register_buffer("steps", torch.zeros(1))
        self.poses = SimpleNamespace(transforms=lambda pose: pose)
        self.avatar = SimpleNamespace(pose_all=lambda poses, budget: list(poses))
        self.kind, self.scale = (False,), 1.0

    def get_param_groups(self):
        return {"field": [self.factor], "pose": [self.pose]}

    def step_kind(self):
        return self.kind

    def training_poses(self, frames):
        return frames.float()

    def render_rays(self, origins, directions, poses, budget):
        self.frame_errors.steps += 1
        seen = torch.cat([origins[rays] * pose for rays, pose in poses])
        return {"rgb": self.factor * seen + self.pose * self.scale}

    def get_metrics_dict(self, outputs, batch):
        return {"mean": outputs["rgb"].detach().mean()}

    def get_loss_dict(self, outputs, batch, metrics):
        return {"rgb": (outputs["rgb"] - batch["image"]).square().mean()}


def rays(first, frames):
    origins = torch.arange(first, first + 4.0)
    batch = {"image": 3 * origins, "frame": torch.tensor(frames)}
    return SimpleNamespace(origins=origins, directions=origins), batch


def set_budget():
    budget = Budget()
    budget.sizes = {"samples": [4]}
    return budget


def test_each_kind_is_recorded_once_and_anew_for_other_sizes():
    model, budget = Model(), set_budget()
    steps = RecordedSteps(model, budget)
    with simulated_graphs() as recorder:
        for first, frames in ((1, [1, 2]), (5, [2, 1]), (0, [3, 4])):
            losses, metrics = steps(*rays(first, frames))
            other = copy.deepcopy(model)
            expected, figures = RecordedSteps(other, Budget())(*rays(first, frames))
            torch.testing.assert_close((losses, metrics), (expected, figures))
            losses["rgb"].backward()
            expected["rgb"].backward()
            torch.testing.assert_close(model.factor.grad, other.factor.grad)
            with torch.no_grad():
                model.factor -= 0.01 * model.factor.grad
            model.factor.grad = None
        assert recorder.call_count == 1
        model.kind = (True,)
        model.pose.requires_grad_(True)
        steps(*rays(1, [1, 2]))[0]["rgb"].backward()
        assert recorder.call_count == 2 and model.pose.grad.any()
        budget.sizes = {"samples": [5]}
        steps(*rays(1, [1, 2]))
        assert recorder.call_count == 3
    assert model.frame_errors.steps == 5  # Those that came before a recording left no trace.


def test_nothing_is_recorded_before_the_budget_is_set():
    model = Model()
    with simulated_graphs() as recorder:
        RecordedSteps(model, Budget())(*rays(1, [1, 2]))
    assert not recorder.called and model.frame_errors.steps == 1


def test_what_python_works_out_is_recorded_once():
    """The stand-in is as blind as a graph: a number that changes without being part of the kind stays as it was."""
    model = Model()
    steps = RecordedSteps(model, set_budget())
    with simulated_graphs():
        before = steps(*rays(1, [1, 2]))[0]["rgb"].item()
        model.scale = 100.0
        assert steps(*rays(1, [1, 2]))[0]["rgb"].item() == before


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * x.sum().item(),
        lambda x: x[x > 0].sum(),
        lambda x: x * torch.tensor([2.0, 3.0]),
        lambda x: x.repeat_interleave(torch.tensor([1, 2])),
    ],
    ids=["number", "mask", "list", "counts"],
)
def test_the_stand_in_refuses_what_waits(function):
    x = torch.tensor([1.0, -1.0], requires_grad=True)
    with pytest.raises(NotRecordable):
        make_graphed_callables(function, (x,), allow_unused_input=True, capture_error_mode="thread_local")


GPU = SimpleNamespace(device=torch.device("cuda", 0))


def test_what_can_be_recorded():
    budget = Budget()
    assert recordable(GPU, budget, TRAINER) is budget


@pytest.mark.parametrize(
    ("model", "budget", "trainer", "message"),
    [
        (SimpleNamespace(device=torch.device("cpu")), Budget(), {}, "this training runs on cpu"),
        (GPU, None, {}, "the paper's searches"),
        (GPU, Budget(), {"world_size": 2}, "Found 2 GPUs"),
        (GPU, Budget(), {"mixed_precision": True}, "mixed precision True"),
        (GPU, Budget(), {"gradient_accumulation_steps": {"field": 4}}, "'field': 4"),
    ],
)
def test_what_cannot_be_recorded_is_said(model, budget, trainer, message):
    with pytest.raises(ValueError, match=message):
        recordable(model, budget, SimpleNamespace(**vars(TRAINER) | trainer))
