"""Figures of toy bodies: as they should be for a model that is right, and for one that holds its arms still."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.demo.bodies_exam import BodyExam
from nerfstudio_avatars.demo.body_clips import draw_body_clips
from nerfstudio_avatars.demo.toy_exam import turns_from_mean
from nerfstudio_avatars.demo.upper_bodies import PARTS, BodyPose
from nerfstudio_avatars.unsup_volanim.data.dataparsers import TedxPeopleDataParserConfig
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

AXES = axis_angle_to_matrix(torch.tensor([0.3, -0.2, 0.4]))
"""Those of the model, which nobody told it to choose like ours."""
ORDER = [3, 0, 5, 1, 4, 2]
"""Of the true parts among the model's."""


@dataclass(frozen=True)
class KnownPose(PartPoses):
    """A pose that remembers which of the toy's it is."""

    body: BodyPose

    def turned(self, yaw, pitch, middle):
        return replace(self, body=self.body.turned(yaw))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_body_clips(tmp_path_factory.mktemp("bodies") / "tedx", 2, 8, 32, test_identities=0)


def exam_of(data, monkeypatch, still=False):
    """Of a model whose pictures are the toys' own, in whatever pose it is asked for; or whose parts move as one."""
    clips = TedxPeopleDataParserConfig(data=data, image_size=32).setup().get_dataparser_outputs("train")
    model = SimpleNamespace(clips=clips.metadata["clips"].with_reader())
    model.eval = lambda: model
    model.cube_of_clip = lambda clip: None
    model.network = SimpleNamespace(turned=lambda cube, pose, yaw: pose.turned(yaw, 0.0, None))
    rows = torch.tensor([[clip, frame] for clip in (0, 1) for frame in range(0, 8, 2)])
    exam = BodyExam(model, data, rows)

    def driving_pose(clip, frame):
        truth = exam.truth[clip]
        whole = torch.from_numpy(truth.rotation[frame]).float()
        within = torch.from_numpy(truth.turns[frame]).float()
        rotation = whole @ (torch.eye(3).expand(6, 3, 3) if still else within) @ AXES
        return KnownPose(rotation[ORDER][None], torch.zeros(1, 6, 3), truth.poses[frame])

    def draw(clip, pose, normals=False):
        seen = exam.truth[clip].toy.render(pose.body, exam.size)
        return {
            "rgb": torch.from_numpy(seen.rgb).float(),
            "accumulation": torch.from_numpy(seen.mask).float()[..., None],
            "depth": torch.from_numpy(seen.depth).float()[..., None].nan_to_num(0) + 10.5,
            "normal": torch.from_numpy(seen.normal).float() / 2 + 0.5,
            "part_shares": torch.from_numpy(seen.parts[..., ORDER]).float(),
        }

    model.driving_pose = driving_pose
    monkeypatch.setattr(exam, "draw", draw)
    return exam


def test_a_model_that_draws_the_truth_makes_no_errors(data, monkeypatch):
    figures = exam_of(data, monkeypatch).figures()
    assert figures["l1"] < 0.01 and figures["mask_iou"] > 0.98 and figures["arms_cross_ratio"] < 0.05
    assert min(figures[name] for name in ("upper_arms_iou", "lower_arms_iou", "head_iou")) > 0.9
    assert set(figures["turn_slopes"]) == set(PARTS[1:])
    for name in PARTS[1:]:
        assert figures["turn_slopes"][name] == pytest.approx(1, abs=1e-3), name
        assert figures["turn_corrs"][name] == pytest.approx(1, abs=1e-3), name


def test_arms_that_hang_still_have_no_slope(data, monkeypatch):
    figures = exam_of(data, monkeypatch, still=True).figures()
    assert all(abs(slope) < 1e-3 for slope in figures["turn_slopes"].values())
    assert figures["yaw_corr"] == pytest.approx(1, abs=1e-3)


def test_turns_are_counted_from_the_mean_of_each_identity():
    angles = torch.tensor([0.2, -0.2, 1.0, 1.6])
    rotations = axis_angle_to_matrix(torch.stack([0 * angles, angles, 0 * angles], -1))
    turns = turns_from_mean(rotations, torch.tensor([0, 0, 1, 1]))
    torch.testing.assert_close(turns[:, 1], torch.tensor([0.2, -0.2, -0.3, 0.3]), atol=1e-5, rtol=0)
    assert turns[:, [0, 2]].abs().max() < 1e-5
