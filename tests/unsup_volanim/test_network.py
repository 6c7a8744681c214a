"""The network of `unsup-volanim`: its keypoints' places, and the step from one part to many, which nobody may see."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.unsup_volanim.keypoint_detector import KeypointDetectorConfig
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation, VolumetricAnimationConfig
from nerfstudio_avatars.unsup_volanim.part_seeds import voxel_places
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses, identity_poses
from nerfstudio_avatars.unsup_volanim.voxel_field import VoxelGeneratorConfig, doubled
from nerfstudio_avatars.unsup_volanim.voxel_render import (
    DISTANCE,
    SCENE,
    VoxelRenderConfig,
    half_extents,
    standard_rays,
)

TINY = VolumetricAnimationConfig(
    parts=10,
    points_per_edge=2,
    prior_slope=2.0,
    generator=VoxelGeneratorConfig(code_size=4, widths=(8, 4), norm="group"),
    detector=KeypointDetectorConfig(input_size=16, widths=(8, 12), head=3, norm="group", positional_bias=0.15),
    render=VoxelRenderConfig(samples=12),
)


def network(seed=0, **changes):
    torch.manual_seed(seed)
    return VolumetricAnimation(replace(TINY, **changes), identities=3)


def drawn(model, images):
    """Pictures, segmentations and poses, as in a training step without chance."""
    estimate = model.poses_of(model.detector(images, model.parts))
    return model.render(model.cubes(torch.tensor([0, 2])), estimate.poses, standard_rays(8)), estimate


def test_canonical_keypoints_are_the_papers_lattice():
    """5x5x5 at sixths of the scene: x, y within +-0.6726, z from 9.833 to 11.167."""
    model = network(points_per_edge=5)
    points = model.keypoints_3d[0].detach()
    sixths = torch.arange(1, 6) / 3 - 1
    expected = torch.cartesian_prod(sixths, sixths, sixths) * torch.tensor(SCENE)
    assert points.shape == (125, 3)
    distances = (expected[:, None] - points).norm(dim=-1)
    assert distances.min(1).values.max() < 1e-5, "each place of the lattice is taken once"
    assert points[:, 0].max().item() == pytest.approx(0.6726, abs=1e-4)
    assert points[:, 2].min().item() + DISTANCE == pytest.approx(9.833, abs=1e-3)
    assert model.point_logits.max().item() == pytest.approx(1.609, abs=1e-3) == -model.point_logits.min().item()


def test_keypoints_never_leave_the_scene():
    model = network()
    with torch.no_grad():
        model.point_logits.mul_(1000)
    assert (model.keypoints_3d.abs() <= torch.tensor(SCENE)).all()


def test_the_object_has_one_part_until_it_is_articulated():
    model, images = network(), torch.rand(2, 3, 16, 16)
    assert model.parts == 1 and model.estimate(images).rotation.shape == (2, 1, 3, 3)
    assert model.cubes(torch.tensor([0])).shape == (1, 5, 8, 8, 8)
    model.articulate()
    assert model.parts == 10 and model.estimate(images).rotation.shape == (2, 10, 3, 3)
    assert model.cubes(torch.tensor([0])).shape == (1, 14, 8, 8, 8)


@pytest.mark.parametrize("pose", ["gn", "epnp", "epnp-gn", "direct"])
@pytest.mark.parametrize("background", ["plate", "slab"])
def test_nobody_sees_the_object_become_articulated(pose, background):
    model, images = network(pose=pose, render=replace(TINY.render, background=background)), torch.rand(2, 3, 16, 16)
    with torch.no_grad():  # as if it had been trained
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    before, _ = drawn(model, images)
    model.articulate(0.0)
    after, estimate = drawn(model, images)
    torch.testing.assert_close(after.rgb, before.rgb, atol=1e-5, rtol=0)
    torch.testing.assert_close(after.depth, before.depth, atol=1e-5, rtol=0)
    torch.testing.assert_close(after.accumulation, before.accumulation, atol=1e-5, rtol=0)
    torch.testing.assert_close(estimate.poses.rotation, estimate.poses.rotation[:, :1].expand(-1, 10, -1, -1))
    torch.testing.assert_close(estimate.poses.translation, estimate.poses.translation[:, :1].expand(-1, 10, -1))
    torch.testing.assert_close(after.parts, before.accumulation[..., None].expand(-1, -1, 10) / 10, atol=1e-5, rtol=0)


def test_noise_tells_the_parts_apart():
    model, images = network(), torch.rand(2, 3, 16, 16)
    before, _ = drawn(model, images)
    model.articulate(0.3)
    after, estimate = drawn(model, images)
    distances = torch.cdist(estimate.poses.rotation[0].flatten(1), estimate.poses.rotation[0].flatten(1))
    assert (distances + torch.eye(10)).min() > 1e-5
    assert after.parts.std(-1).max() > 1e-3
    assert (after.rgb - before.rgb).abs().max() < 0.3, "the picture stays nearly the same"
    assert len({tuple(part.flatten().tolist()) for part in model.keypoints_3d}) == 10


def test_the_number_of_parts_survives_saving():
    model = network()
    model.articulate(0.1)
    loaded = network(seed=1)
    loaded.load_state_dict(model.state_dict())
    assert loaded.parts == 10
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(drawn(loaded, images)[0].rgb, drawn(model, images)[0].rgb)


@pytest.mark.parametrize("pose", ["gn", "epnp", "epnp-gn"])
def test_projected_keypoints_give_the_pose_they_were_projected_with(pose):
    model = network(pose=pose, points_per_edge=5).double()
    turn = torch.tensor([[[0.2, 0.4, -0.1]], [[-0.1, -0.3, 0.15]]]).double()
    poses = PartPoses(axis_angle_to_matrix(turn), torch.tensor([[[0.05, -0.1, 0.0]], [[0.1, 0.0, 0.0]]]).double())
    estimate = model.poses_of(model.project(poses))
    torch.testing.assert_close(estimate.poses.rotation, poses.rotation, atol=5e-3, rtol=0)
    torch.testing.assert_close(estimate.poses.translation, poses.translation, atol=2e-2, rtol=0)
    torch.testing.assert_close(estimate.projected, estimate.keypoints, atol=5e-3, rtol=0)


def test_direct_poses_are_read_from_three_keypoints():
    model = network(pose="direct")
    keypoints = torch.zeros(2, 1, 8, 2)
    keypoints[:, 0, 3:] = 0.7  # the others say nothing
    still = model.poses_of(keypoints).poses
    torch.testing.assert_close(still.rotation, torch.eye(3).expand(2, 1, 3, 3))
    torch.testing.assert_close(still.translation, torch.zeros(2, 1, 3))
    keypoints[0, 0, :3] = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    moved = model.poses_of(keypoints).poses
    torch.testing.assert_close(moved.rotation[0, 0], axis_angle_to_matrix(torch.tensor([0.1, 0.2, 0.3])))
    torch.testing.assert_close(moved.translation[0, 0], torch.tensor([0.2, 0.25, 0.3]))


def test_the_prior_is_an_ellipsoid_of_the_asked_size():
    model = network(prior_radii=(0.4, 0.7, 0.5), generator=replace(TINY.generator, widths=(8, 4, 4, 4)))
    density = model.cubes_of(torch.zeros(1, 4), shape_scale=0.0)[0, -1]
    half = half_extents(TINY.render.enlarge)
    for axis, (radius, reach) in enumerate(zip((0.4, 0.7, 0.5), half.tolist(), strict=True)):
        inside = (density > 0).any(tuple(d for d in range(3) if d != 2 - axis)).sum() / 32 * 2 * reach
        assert inside / 2 == pytest.approx(radius, abs=1.5 * reach / 16)


def test_codes_alone_decide_the_cube():
    model = network()
    codes = model.embedding(torch.tensor([1]))
    torch.testing.assert_close(model.cubes_of(codes), model.cubes(torch.tensor([1])))
    assert (model.cubes(torch.tensor([0])) - model.cubes(torch.tensor([1]))).abs().max() > 1e-3


def test_coarser_cubes_carry_the_prior_too():
    generator = replace(TINY.generator, widths=(8, 4, 4), coarse_outputs=True)
    model = network(generator=generator)
    coarse, fine = (model.cubes_of(torch.zeros(1, 4), levels=levels, shape_scale=0.0)[0, -1] for levels in (1, None))
    assert coarse.shape == (8, 8, 8) and fine.shape == (16, 16, 16)
    torch.testing.assert_close(coarse[0, 0, 0], fine[0, 0, 0])
    assert coarse[3:5, 3:5, 3:5].min() > 0


def test_pictures_teach_everything():
    model = network()
    model.articulate(0.1)
    pictures, estimate = drawn(model, torch.rand(2, 3, 16, 16))
    (pictures.rgb.sum() + pictures.parts.square().sum() + estimate.projected.square().sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_an_unmoved_object_projects_its_keypoints_where_the_heat_maps_begin():
    model = network(points_per_edge=3)
    places = model.project(identity_poses(1, 1))[0]
    assert places.shape == (1, 27, 2)
    peaks = model.detector.bias[:27].argmax(-1)
    found = model.detector.grid[peaks]
    assert (found - places[0]).abs().max() < 1 / 16 + 1e-6
    assert places.abs().max().item() == pytest.approx(0.5 * SCENE[0] / (DISTANCE - 0.5) / math.tan(0.175 / 2), abs=1e-4)


# Fine voxels ----------------------------------------------------------------------------------------------------------


def test_doubled_voxels_hold_what_the_coarse_ones_held():
    model = network(detail=2.0, fine_detail=True)
    with torch.no_grad():
        model.detail.normal_()
        before = model.cubes(torch.tensor([0, 2]))
        assert model.cube_side == before.shape[-1] == model.no_detail().shape[-1] == 8
        model.double_voxels()
        after = model.cubes(torch.tensor([0, 2]))
        assert model.cube_side == after.shape[-1] == model.no_detail().shape[-1] == 16
        torch.testing.assert_close(after, doubled(before), rtol=1e-4, atol=1e-4)
        model.fine[0].add_(1.0)
        model.double_voxels()
    torch.testing.assert_close(model.cubes(torch.tensor([0])), after[:1] + 2 * _shifted(after), rtol=1e-4, atol=1e-4)


def _shifted(cubes):
    """Ones in colours and density."""
    ones = torch.ones_like(cubes[:1])
    ones[:, :-4] = 0
    return ones


def test_only_identities_that_are_drawn_get_a_gradient_of_fine_voxels():
    model = network(detail=2.0, fine_detail=True)
    model.double_voxels()
    model.cubes(torch.tensor([2, 0])).square().sum().backward()
    assert [one.grad is not None for one in model.fine] == [True, False, True]
    assert model.detail.grad is None


def test_a_network_with_fine_voxels_is_loaded_as_it_was():
    model, other = network(detail=2.0, fine_detail=True), network(1, detail=2.0, fine_detail=True)
    model.double_voxels()
    other.load_state_dict(model.state_dict())
    assert other.cube_side == 16
    assert "finer" not in network(detail=2.0).state_dict(), "older checkpoints have none"


@pytest.mark.parametrize("changes", [{"detail": 0.0}, {"detail": 1.0, "identity_rows": "sparse"}])
def test_fine_voxels_need_volumes_of_the_identities_own(changes):
    with pytest.raises(UserError, match=r"fine-detail needs network\.detail"):
        network(fine_detail=True, **changes)


def test_an_object_beside_the_canonical_origin_turns_in_place():
    model, middle = network(), torch.tensor([0.1, 0.0, -0.5])
    cube = torch.zeros_like(model.cubes(torch.tensor([0])))[0]
    places = voxel_places(cube.shape[-1], cube.device) * model.scene * model.config.render.enlarge
    cube[-1] = 40 * (0.5 - (places - middle).norm(dim=-1))
    rest = identity_poses(1, model.parts)
    torch.testing.assert_close(model.middle_of(cube, rest)[0, 0], middle, atol=0.05, rtol=0)

    def across(poses):
        seen = model.render(cube[None], poses, standard_rays(16)).accumulation.view(16, 16)
        return float((seen.sum(0) * torch.linspace(-1, 1, 16)).sum() / seen.sum())

    assert abs(across(model.turned(cube, rest, 0.8)) - across(rest)) < 0.02
    assert abs(across(rest.turned(0.8, 0.0, torch.zeros(1, 1, 3))) - across(rest)) > 0.1
