"""Figures of a tiny run: all there, finite, and as they should be for models that are right or know nothing."""

import math
from dataclasses import dataclass, replace
from html import escape

import numpy as np
import pytest
import torch

from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.demo.heads import HeadPose
from nerfstudio_avatars.demo.heads_exam import HeadExam, train_on_true_poses
from nerfstudio_avatars.demo.heads_page import COLUMNS, FIGURES, write_heads_page
from nerfstudio_avatars.demo.toy_exam import held_out_rows, region, true_pose
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

NAMES = {
    "l1", "l1_inside", "mask_iou", "depth_corr", "relief_gain", "depth_error", "normal_error_degrees", "jaw_iou",
    "yaw_corr", "yaw_corr_worst", "yaw_corr_pooled", "yaw_gain", "rotation_error_degrees", "novel_view_l1",
    "novel_view_ratio", "cross_identity_l1", "cross_identity_ratio", "jaw_turn_corr", "jaw_turn_slope", "mouth_l1",
    "mouth_still_ratio", "mouth_cross_ratio",
}  # fmt: skip


@dataclass(frozen=True)
class KnownPose(PartPoses):
    """A pose that remembers which of the toy's it is."""

    head: HeadPose

    def turned(self, yaw, pitch, middle):
        return replace(self, head=self.head.turned(yaw))


@pytest.fixture
def pipeline(volanim_config):
    return load_run(volanim_config, need_data=True).pipeline


@pytest.fixture
def exam(pipeline, head_clips):
    return HeadExam(pipeline.model, head_clips, held_out_rows(pipeline))


def test_every_figure_is_there_and_finite(exam):
    figures = exam.figures()
    assert set(figures) == NAMES
    assert all(math.isfinite(value) for value in figures.values()), figures
    assert 0 <= figures["mask_iou"] <= 1 and figures["l1"] > 0


def test_one_frame_of_one_head_leaves_some_figures_open(pipeline, head_clips):
    figures = HeadExam(pipeline.model, head_clips, held_out_rows(pipeline)[:1]).figures()
    assert set(figures) == NAMES and math.isfinite(figures["l1"]) and math.isfinite(figures["novel_view_ratio"])
    assert math.isnan(figures["yaw_corr"]) and math.isnan(figures["cross_identity_ratio"])


def test_held_out_frames_of_all_heads_are_examined(exam):
    assert exam.rows == [[clip, frame] for clip in range(4) for frame in (7, 15)]
    for place, (clip, _) in enumerate(exam.rows):
        driver, frame = exam.other(place)
        assert driver != clip and driver in exam.truth and 0 <= frame < 16


@pytest.mark.slow
def test_a_model_that_draws_the_truth_makes_no_errors(exam, pipeline, monkeypatch):
    """Its pictures are the toys' own, in whatever pose it is asked for."""
    poses = []
    axes = axis_angle_to_matrix(torch.tensor([0.3, -0.2, 0.4]))
    """Those of the model, which nobody told it to choose like ours."""

    class Truthful:
        """Knows the head of each pose."""

        clips, network = pipeline.model.clips, pipeline.model.network

        def cube_of_clip(self, clip):
            return pipeline.model.cube_of_clip(clip)

        def driving_pose(self, clip, frame):
            head = exam.truth[clip].poses[frame]
            pose = true_pose(exam.truth[clip], [frame], 2)
            turn = torch.tensor([[[0.0, 0.0, 0.0], [head.jaw, 0.0, 0.0]]])
            pose = pose.moved_within(turn, torch.zeros(1, 2, 3), torch.zeros(2, 3))
            pose = KnownPose(pose.rotation @ axes, pose.translation, head)
            poses.append(pose)
            return pose

    stills = []

    def draw(clip, pose, normals=False):
        if isinstance(pose, KnownPose):
            head_pose = pose.head
        else:  # another jaw to a head that is known
            head_pose = next(known.head for known in poses if torch.equal(known.translation, pose.translation))
            between = (pose.rotation[0, 0] @ axes.T).T @ pose.rotation[0, 1] @ axes.T
            head_pose = replace(head_pose, jaw=float(torch.atan2(between[2, 1], between[2, 2])))
            stills.append((clip, head_pose.jaw))
        seen = exam.truth[clip].toy.render(head_pose, exam.size)
        tensors = {name: torch.from_numpy(getattr(seen, name)).float()[..., None] for name in ("mask", "depth")}
        return {
            "rgb": torch.from_numpy(seen.rgb).float(),
            "accumulation": tensors["mask"],
            "depth": tensors["depth"].nan_to_num(0) + 10.5,
            "normal": torch.from_numpy(seen.normal).float() / 2 + 0.5,
            "part_shares": torch.from_numpy(seen.parts).float(),
        }

    exam.model = Truthful()
    monkeypatch.setattr(exam, "draw", draw)
    figures = exam.figures()
    for name in ("l1", "l1_inside", "novel_view_l1", "cross_identity_l1"):
        assert figures[name] < 0.005, name
    for name in ("mask_iou", "depth_corr", "relief_gain", "yaw_corr", "yaw_corr_pooled", "yaw_gain"):
        assert figures[name] == pytest.approx(1, abs=0.02), name
    assert figures["jaw_iou"] > 0.9 and figures["rotation_error_degrees"] < 0.1
    assert figures["jaw_turn_corr"] == pytest.approx(1) == figures["jaw_turn_slope"]
    assert figures["mouth_l1"] < 0.01 and figures["mouth_still_ratio"] < 0.25 and figures["mouth_cross_ratio"] < 0.05
    for clip, jaw in stills:
        own = [exam.truth[clip].poses[frame].jaw for of, frame in exam.rows if of == clip]
        assert jaw == pytest.approx(sum(own) / len(own), abs=1e-3), "a still mouth is open as it is on average"
    assert figures["normal_error_degrees"] < 0.1


def test_the_mouth_is_the_jaw_and_a_rim_around_it():
    jaw = np.zeros((64, 64))
    jaw[40:50, 20:44] = 1
    mouth = region(jaw)
    assert mouth.sum() == 14 * 28 and mouth[38, 18] and not mouth[37, 30]


def test_true_poses_are_those_that_the_toys_were_drawn_in(exam):
    truth = exam.truth[0]
    poses = true_pose(truth, [3, 5], 2)
    assert poses.rotation.shape == (2, 2, 3, 3) and poses.translation.shape == (2, 2, 3)
    torch.testing.assert_close(poses.rotation[1, 1], torch.from_numpy(truth.poses[5].rotation).float())
    torch.testing.assert_close(poses.translation[0, 0], torch.tensor(truth.poses[3].shift).float())


@pytest.mark.slow
def test_the_ceiling_is_trained_anew_on_true_poses(pipeline, head_clips):
    before = pipeline.model.network
    train_on_true_poses(pipeline, head_clips, 40)
    assert pipeline.model.network is not before and pipeline.model.network.parts == 1
    figures = HeadExam(pipeline.model, head_clips, held_out_rows(pipeline), true_poses=True).figures()
    assert figures["mask_iou"] > 0.6 and figures["yaw_corr"] == pytest.approx(1, abs=1e-3)


def test_the_page_shows_every_figure_of_every_run(tmp_path):
    numbers = {name: 0.25 for name in FIGURES}
    report = numbers | {"method": "m <1>", "device": "cpu", "one_part": numbers, "true_poses": {}}
    text = write_heads_page(tmp_path, report).read_text("utf8")
    assert "m &lt;1&gt;" in text and "nan" in text and text.count("0.25") == 2 * len(FIGURES)
    assert all(escape(title) in text for title in (*FIGURES.values(), *COLUMNS))
    for name in ("heads.png", "driven.mp4", "inverted.png"):
        assert f'src="{name}"' in text
