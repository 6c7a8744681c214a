"""nerfstudio's cameras against the method's own."""

import math

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.unsup_volanim.data.clip_cameras import clip_cameras
from nerfstudio_avatars.unsup_volanim.data.clip_table import Clip, ClipTable
from nerfstudio_avatars.unsup_volanim.scene_rays import scene_rays
from nerfstudio_avatars.unsup_volanim.standard_camera import DISTANCE, REACH
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses, identity_poses
from nerfstudio_avatars.unsup_volanim.voxel_render import VoxelRenderConfig, render_voxels, standard_rays

SIZE = 24


@pytest.fixture
def camera():
    return clip_cameras(ClipTable([Clip("a", "a", 3)]), torch.zeros(1, 2, dtype=torch.long), SIZE)


@pytest.fixture
def cube():
    """A lopsided, coloured blob inside the cube, one part."""
    z, y, x = torch.meshgrid(*[torch.linspace(-1, 1, 16)] * 3, indexing="ij")
    density = 30 * (1 - ((x - 0.1) / 0.4).square() - (y / 0.5).square() - ((z + 0.15) / 0.35).square())
    return torch.stack([torch.zeros_like(x), x.abs(), (y + 1) / 2, (z + 1) / 2, density])[None]


def moved(camera, pose):
    """The same camera elsewhere."""
    return Cameras(pose[None, :3], camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height)


def turn_about_z(camera, angle):
    """Where a camera stands that goes round the world's vertical, counterclockwise from above."""
    turn = axis_angle_to_matrix(torch.tensor([0.0, 0.0, angle]))
    return moved(camera, turn @ camera.camera_to_worlds[0])


def picture(cube, poses, rays):
    config = VoxelRenderConfig(samples=64, background="none")
    return render_voxels(cube, poses, rays, config)


def test_the_data_sets_cameras_see_the_standard_rays(camera):
    rays, height, width = scene_rays(camera)
    expected = standard_rays(SIZE)
    assert (height, width) == (SIZE, SIZE)
    torch.testing.assert_close(rays.origins, expected.origins)
    torch.testing.assert_close(rays.directions, expected.directions, atol=1e-6, rtol=0)
    assert (rays.near, rays.far) == pytest.approx((DISTANCE - REACH, DISTANCE + REACH))


def test_rows_of_an_oblong_picture_follow_each_other(camera):
    wide = Cameras(camera.camera_to_worlds, camera.fx, camera.fy, 20.0, 8.0, 40, 16)
    rays, height, width = scene_rays(wide)
    directions = rays.directions.unflatten(0, (height, width))
    assert (height, width) == (16, 40)
    assert (directions[..., 0].diff(dim=1) > 0).all() and (directions[..., 1].diff(dim=0) > 0).all()


@pytest.mark.parametrize("angle", [0.3, -0.7])
def test_going_round_the_object_is_turning_it_the_other_way(camera, cube, angle):
    """The camera's z-up is the scene's y-down: round by +a about the one is +(-a) about the other."""
    round_it = picture(cube, identity_poses(1, 1), scene_rays(turn_about_z(camera, angle))[0])
    rotation = axis_angle_to_matrix(torch.tensor([[[0.0, angle, 0.0]]]))
    turned = picture(cube, PartPoses(rotation, torch.zeros(1, 1, 3)), standard_rays(SIZE))
    still = picture(cube, identity_poses(1, 1), standard_rays(SIZE))
    difference = (still.rgb - turned.rgb).abs().mean()
    assert (round_it.rgb - turned.rgb).abs().mean() < 0.05 * difference
    assert (round_it.accumulation - turned.accumulation).abs().mean() < 0.01


def test_a_sideways_step_shifts_the_object(camera, cube):
    """A tenth of a half picture to the camera's right puts the object as much to the left."""
    right = camera.camera_to_worlds[0, :, 0]
    pose = camera.camera_to_worlds[0].clone()
    pose[:, 3] += 0.1 * right
    stepped = picture(cube, identity_poses(1, 1), scene_rays(moved(camera, pose))[0])
    shifted = PartPoses(torch.eye(3).expand(1, 1, 3, 3), torch.tensor([[[-0.1, 0.0, 0.0]]]))
    torch.testing.assert_close(stepped.rgb, picture(cube, shifted, standard_rays(SIZE)).rgb, atol=1e-3, rtol=0)


@pytest.mark.parametrize("distance", [0.0, 0.4, -5.0, 40.0])
def test_a_camera_inside_the_scene_or_past_it_gives_finite_pictures(camera, cube, distance):
    pose = camera.camera_to_worlds[0].clone()
    pose[:, 3] = torch.tensor([0.0, distance, 0.0])
    rays = scene_rays(moved(camera, pose))[0]
    seen = picture(cube, identity_poses(1, 1), rays)
    assert 0 < rays.near < rays.far and seen.rgb.isfinite().all()
    assert (seen.accumulation >= 0).all() and (seen.accumulation <= 1 + 1e-5).all()


def test_looking_60_degrees_aside_gives_no_negative_weights(camera, cube):
    seen = picture(cube, identity_poses(1, 1), scene_rays(turn_about_z(camera, math.radians(60)))[0])
    assert seen.rgb.isfinite().all() and (seen.accumulation >= 0).all() and seen.accumulation.max() > 0.9
