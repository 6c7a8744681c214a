"""The body against `smplx`, called the way everybody calls it."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import smplx
import torch

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.linear_blend_skinning import skin
from nerfstudio_avatars.bodies.smpl_arrays import SmplArrays
from nerfstudio_avatars.bodies.smpl_body import SmplBody
from nerfstudio_avatars.bodies.standin import STANDIN_FILE


def with_pose_correctives(scale: float) -> SmplArrays:
    """The stand-in, cut down to 400 vertices, with invented pose correctives, which the shipped file has none of."""
    with np.load(STANDIN_FILE) as file:
        fields = dict(file)
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(fields["v_template"]), 400, replace=False))
    for key in ("v_template", "shapedirs", "weights"):
        fields[key] = fields[key][chosen]
    fields["posedirs"] = scale * rng.standard_normal((400, 3, 207))
    fields["J_regressor"] = rng.dirichlet(np.full(400, 0.05), 24)
    fields["f"] = rng.integers(0, 400, (500, 3))
    return SmplArrays.checked(fields, "test")


def through_smplx(fields: SmplArrays | dict, state: BodyState) -> tuple[torch.Tensor, torch.Tensor]:
    fields = fields if isinstance(fields, dict) else vars(fields)
    vertex_ids = {name: 0 for name in smplx.vertex_ids.vertex_ids["smplh"]}
    model = smplx.SMPL("", data_struct=SimpleNamespace(**fields), vertex_ids=vertex_ids)
    arguments = {key: value[None] for key, value in vars(state).items()}
    with torch.no_grad():
        posed = model(**arguments)
    return posed.vertices[0], posed.joints[0, :24]


@pytest.mark.parametrize("seed", range(3))
def test_vertices_and_joints_are_those_of_smplx(standin, random_pose, seed):
    with np.load(STANDIN_FILE) as file:
        fields = dict(file)
    state = random_pose(seed, std=0.7)
    vertices, joints = through_smplx(fields, state)
    posed = standin.pose(state)
    torch.testing.assert_close(posed.vertices, vertices, atol=1e-5, rtol=0)
    torch.testing.assert_close(posed.joints, joints, atol=1e-5, rtol=0)


def test_our_joint_transforms_move_the_skin_where_smplx_has_it(standin, random_pose):
    """Two chains of transforms, smplx's inside the vertices and ours, must be the same."""
    state = random_pose(3, std=0.7)
    posed = standin.pose(state)
    vertices, joints = standin.rest(state.betas)
    torch.testing.assert_close(
        skin(vertices, standin.weights, posed.joint_transforms), posed.vertices, atol=1e-5, rtol=0
    )
    moved = skin(joints, torch.eye(24), posed.joint_transforms)
    torch.testing.assert_close(moved, posed.joints, atol=1e-5, rtol=0)


def test_pose_correctives_reach_the_vertices(random_pose):
    fields = with_pose_correctives(scale=0.01)
    state = random_pose(4)
    vertices, _ = through_smplx(fields, state)
    posed = SmplBody(fields, "test").pose(state)
    torch.testing.assert_close(posed.vertices, vertices, atol=1e-5, rtol=0)
    bare = SmplBody(with_pose_correctives(scale=0.0), "test").pose(state).vertices
    assert (posed.vertices - bare).norm(dim=-1).mean() > 0.01


def test_the_rest_pose_is_the_zero_pose(standin):
    betas = torch.randn(10, generator=torch.Generator().manual_seed(1))
    posed = standin.pose(BodyState(betas, torch.zeros(3), torch.zeros(69), torch.zeros(3)))
    vertices, joints = standin.rest(betas)
    torch.testing.assert_close(posed.vertices, vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(posed.joints, joints, atol=1e-6, rtol=0)


def test_vertices_depend_smoothly_on_all_of_the_state_also_at_rest(standin):
    parts = [torch.zeros(size, requires_grad=True) for size in (10, 3, 69, 3)]
    posed = standin.pose(BodyState(*parts))
    (posed.vertices.square().sum() + posed.joint_transforms.square().sum()).backward()
    for part in parts:
        assert part.grad is not None and part.grad.isfinite().all() and part.grad.abs().sum() > 0


def test_a_pickled_body_poses_alike(random_pose):
    body = SmplBody(with_pose_correctives(scale=0.01), "a name", "female")
    again = pickle.loads(pickle.dumps(body))
    assert (again.name, again.gender, again.parents) == ("a name", "female", body.parents)
    assert torch.equal(again.pose(random_pose(5)).vertices, body.pose(random_pose(5)).vertices)


def test_a_deep_copy_shares_its_constants(standin):
    assert copy.deepcopy({"body": standin})["body"] is standin


def test_the_standin_stands_as_documented(standin):
    """T-pose: y up, facing +z, arms along x; pelvis near y = -0.23 m; weights sum to one; triangles face outward."""
    vertices, joints = standin.rest(torch.zeros(10))
    named = dict(zip(standin.joint_names, joints, strict=True))
    assert vertices.shape == (13718, 3) and standin.faces.shape == (27420, 3)
    assert named["pelvis"][1].item() == pytest.approx(-0.23, abs=0.01)
    assert named["left_wrist"][0] > 0.6 and named["right_wrist"][0] < -0.6
    assert named["left_foot"][2] > named["left_ankle"][2] + 0.1
    torch.testing.assert_close(standin.weights.sum(1), torch.ones(13718), atol=1e-4, rtol=0)
    a, b, c = vertices[standin.faces].unbind(1)
    volume = (torch.linalg.cross(a, b) * c).sum() / 6
    assert 0.04 < volume < 0.12
