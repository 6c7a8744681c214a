"""Toy heads against closed forms: where points of them appear, how deep, and which way they turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.demo import solids
from nerfstudio_avatars.demo.heads import JAW, HeadPose, ToyHead, wandering_poses
from nerfstudio_avatars.demo.solids import Ellipsoid, Solids
from nerfstudio_avatars.unsup_volanim.standard_camera import DISTANCE, FIELD_OF_VIEW
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_render import VoxelRenderConfig, half_extents, render_voxels, standard_rays

FOCAL = 1 / np.tan(FIELD_OF_VIEW / 2)
NOSE = np.array([0.0, 0.05, -0.7])
"""Before the face of any head, on its plane of symmetry."""
POSE = HeadPose(0.5, 0.3, -0.2, (0.05, -0.04, 0.1), 0.2)


@pytest.fixture(scope="module")
def head():
    return ToyHead(3)


def pixel(points, size):
    """Rows and columns of points given in camera coordinates."""
    places = (FOCAL * points[..., :2] / points[..., 2:] + 1) / 2 * size - 0.5
    return places[..., 1], places[..., 0]


def ball(centre, radius):
    """A head that is a plain ball."""
    head = ToyHead(0)
    head.solids = Solids(
        [Ellipsoid(tuple(map(float, centre)), (float(radius),) * 3, (0.5, 0.5, 0.5))], np.random.default_rng(0)
    )
    return head


def test_rotation_is_scipys_yaw_then_pitch_then_roll():
    expected = Rotation.from_euler("yxz", [-POSE.yaw, -POSE.pitch, POSE.roll]).as_matrix()
    np.testing.assert_allclose(POSE.rotation, expected, atol=1e-12)


def test_positive_yaw_turns_the_nose_towards_the_right_of_the_picture():
    assert (HeadPose(yaw=0.3).rotation @ NOSE)[0] > 0.1 and (HeadPose(yaw=-0.3).rotation @ NOSE)[0] < -0.1


def test_positive_pitch_raises_the_nose():
    assert (HeadPose(pitch=0.3).rotation @ NOSE)[1] < -0.1


def test_positive_roll_turns_the_picture_clockwise():
    np.testing.assert_allclose(HeadPose(roll=np.pi / 2).rotation @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_turned_heads_turn_about_the_cameras_vertical():
    """As an orbiting camera sees them: what a new view's truth is."""
    about_vertical = Rotation.from_euler("y", -0.7).as_matrix()
    np.testing.assert_allclose(POSE.turned(0.3).turned(0.4).rotation, about_vertical @ POSE.rotation, atol=1e-12)
    np.testing.assert_allclose(HeadPose().turned(0.4).rotation, HeadPose(yaw=0.4).rotation, atol=1e-12)
    assert POSE.turned(0.4).shift == POSE.shift


@pytest.mark.parametrize("seed", range(4))
def test_a_frontal_head_is_its_own_mirror_image(seed):
    seen = ToyHead(seed).render(HeadPose(jaw=0.2), 48)
    np.testing.assert_array_equal(seen.mask, seen.mask[:, ::-1])
    np.testing.assert_array_equal(seen.parts[..., JAW], seen.parts[..., JAW][:, ::-1])
    np.testing.assert_allclose(seen.depth, seen.depth[:, ::-1], atol=1e-9)


def test_opposite_yaws_and_rolls_are_mirror_images(head):
    one = head.render(HeadPose(0.4, 0.2, 0.1, (0.1, 0.05, 0.0), 0.1), 48)
    other = head.render(HeadPose(-0.4, 0.2, -0.1, (-0.1, 0.05, 0.0), 0.1), 48)
    np.testing.assert_allclose(one.mask, other.mask[:, ::-1], atol=1e-9)


def test_a_ball_covers_a_circle_at_the_depth_of_its_front():
    """The tangent cone of a ball at distance d has sine r / d; on the axis the surface is at d - r."""
    size, radius, shift = 65, 0.4, 0.2
    head, pose = ball((0, 0, 0), radius), HeadPose(shift=(0, 0, shift))
    assert head.render(pose, size, samples=1).depth[32, 32] == pytest.approx(shift - radius, abs=1e-9)
    tangent = np.tan(np.arcsin(radius / (DISTANCE + shift))) * FOCAL
    assert head.render(pose, size, samples=8).mask.mean() * 4 == pytest.approx(np.pi * tangent**2, rel=1e-3)


def test_every_depth_of_a_moved_ball_is_on_its_surface():
    size, radius, centre = 41, 0.3, np.array([0.1, -0.2, 0.15])
    seen = ball(centre, radius).render(POSE, size, samples=1)
    row, column = np.nonzero(seen.mask)
    z = seen.depth[row, column] + DISTANCE
    x, y = ((np.stack([column, row]) + 0.5) / size * 2 - 1) * z / FOCAL
    middle = POSE.rotation @ centre + POSE.shift + [0, 0, DISTANCE]
    distance = np.linalg.norm(np.stack([x, y, z], -1) - middle, axis=-1)
    np.testing.assert_allclose(distance, radius, atol=1e-6)
    outward = (np.stack([x, y, z], -1) - middle) / radius
    np.testing.assert_allclose(seen.normal[row, column], outward, atol=1e-6)
    assert (seen.normal[seen.mask == 0] == 0).all()


def test_normals_are_those_of_the_depth_on_the_open_jaw_too(head):
    """Cross products of neighbouring surface points, where the surface is smooth."""
    size, pose = 301, HeadPose(0.3, -0.2, 0.1, (0.05, 0.02, -0.1), jaw=0.4)
    seen = head.render(pose, size, samples=1)
    z = seen.depth + DISTANCE
    steps = (np.arange(size) + 0.5) / size * 2 - 1
    points = np.stack([steps * z / FOCAL, steps[:, None] * z / FOCAL, z], -1)
    right, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    outward = np.cross(down, right)
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
    cosine = (outward * seen.normal[1:-1, 1:-1]).sum(-1)
    for part in (seen.parts[..., JAW] == 1, (seen.mask == 1) & (seen.parts[..., JAW] == 0)):
        assert np.nanquantile(np.where(part[1:-1, 1:-1], cosine, np.nan), 0.2) > 0.999


def test_a_turned_head_shows_the_same_points_where_the_pose_moves_them(head):
    """Points seen frontally, moved by hand, lie on or behind what the turned view shows, most of them on."""
    size, turned = 128, HeadPose(0.15, -0.1, 0.1, (0.05, 0.02, -0.1))
    front, moved = (head.render(pose, size, samples=1) for pose in (HeadPose(), turned))
    row, column = np.nonzero(front.mask)
    z = front.depth[row, column] + DISTANCE
    x, y = ((np.stack([column, row]) + 0.5) / size * 2 - 1) * z / FOCAL
    points = np.stack([x, y, z - DISTANCE], -1) @ turned.rotation.T + turned.shift + [0, 0, DISTANCE]
    row, column = (np.rint(place).astype(int) for place in pixel(points, size))
    seen = moved.depth[row, column]
    behind = (points[:, 2] - DISTANCE - seen)[np.isfinite(seen)]
    assert np.isfinite(seen).mean() > 0.98
    assert np.quantile(behind, 0.02) > -0.05 and (np.abs(behind) < 0.02).mean() > 0.8


def test_the_nose_is_the_nearest_point_of_a_frontal_face_and_follows_the_pose(head):
    size, nose = 201, head.solids.ellipsoids[1]
    tip = np.array(nose.centre) - [0, 0, nose.radii[2]]
    seen = head.render(HeadPose(), size, samples=1)
    row, column = (int(round(float(place))) for place in pixel(tip + [0, 0, DISTANCE], size))
    assert seen.depth[row, column] == pytest.approx(tip[2], abs=1e-3)
    turned = HeadPose(yaw=0.3, shift=(0.1, 0.0, 0.0))
    row, column = pixel(turned.rotation @ tip + turned.shift + [0, 0, DISTANCE], size)
    seen = head.render(turned, size, samples=1)
    assert column > size * 0.6 and seen.mask[int(row), int(column)] == 1


def test_the_jaw_opens_downwards(head):
    size = 96
    rows = np.arange(size)[:, None]
    seen = [head.render(HeadPose(jaw=jaw), size) for jaw in (0.0, 0.25, 0.5)]
    lowest = [np.where(one.parts[..., JAW] > 0, rows, 0).max() for one in seen]
    assert lowest[0] < lowest[1] < lowest[2]
    heights = [(one.parts[..., JAW] * rows).sum() / one.parts[..., JAW].sum() for one in seen]
    assert heights[2] > heights[0] + 2
    above = slice(0, size // 3)
    np.testing.assert_array_equal(seen[0].rgb[above], seen[2].rgb[above])


def test_masks_of_parts_lie_inside_each_other(head):
    seen = head.render(POSE, 40, samples=3)
    assert seen.rgb.min() >= 0 and seen.rgb.max() <= 1 and seen.mask.max() == 1
    assert (seen.parts[..., JAW] <= seen.mask + 1e-12).all() and seen.parts[..., JAW].max() > 0
    np.testing.assert_array_equal(np.isfinite(seen.depth), seen.mask > 0)


def test_more_samples_are_averaged_and_change_nothing_else(head):
    few, many = (head.render(POSE, 32, samples=samples) for samples in (1, 6))
    assert abs(few.mask.mean() - many.mask.mean()) < 0.01
    inside = (few.mask == 1) & (many.mask == 1)
    assert np.abs(few.rgb - many.rgb)[inside].mean() < 0.03


def test_the_background_is_seen_where_there_is_no_head(head):
    size = 32
    seen = head.render(HeadPose(), size, samples=1)
    steps = (np.arange(size) + 0.5) / size * 2 - 1
    backdrop = head.solids.background(steps)
    np.testing.assert_allclose(seen.rgb[seen.mask == 0], backdrop[seen.mask == 0], atol=1e-12)


def test_seeds_decide_everything():
    one, same, other = (ToyHead(seed).render(POSE, 32).rgb for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).mean() > 0.02
    assert wandering_poses(5, 12) == wandering_poses(5, 12) != wandering_poses(6, 12)


def test_wandering_poses_are_smooth_and_keep_their_range():
    poses = wandering_poses(2, 200)
    yaw, pitch, roll, jaw = (np.degrees([getattr(p, name) for p in poses]) for name in ("yaw", "pitch", "roll", "jaw"))
    assert np.abs(yaw).max() <= 40 + 1e-9 and np.abs(pitch).max() <= 20 + 1e-9 and np.abs(roll).max() <= 10 + 1e-9
    assert jaw.min() >= -1e-9 and jaw.max() <= 28 + 1e-9
    assert np.ptp(yaw) > 50 and np.ptp(jaw) > 20
    assert np.abs(np.diff(yaw)).max() < 12


@pytest.mark.parametrize("seed", [0, 7])
def test_poses_are_the_renderers_own(seed):
    """A head cut into voxels and rendered under the same pose covers the same pixels at the same depth."""
    size, n, pose, head = 48, 96, HeadPose(0.5, 0.3, -0.2, (0.1, -0.08, 0.15)), ToyHead(seed)
    half = half_extents(1.075).numpy()
    axis = np.linspace(-1, 1, n)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    points = np.stack([x, y, z], -1) * half
    solid = np.zeros((n, n, n), bool)
    for one in head.solids.ellipsoids:
        inside = (((points - one.centre) / one.radii) ** 2).sum(-1) < 1
        if one.cut is not None:
            inside &= (points[..., 1] < one.cut) | (points[..., 2] > 0)
        solid |= inside
    cube = torch.zeros(1, 5, n, n, n)
    cube[0, -1] = torch.from_numpy(np.where(solid, 200.0, 0.0))
    rotation, shift = torch.from_numpy(pose.rotation).float(), torch.tensor(pose.shift)
    config = VoxelRenderConfig(samples=160, background="none")
    drawn = render_voxels(cube, PartPoses(rotation[None, None], shift[None, None]), standard_rays(size), config)
    mask, depth = (value[0].reshape(size, size).numpy() for value in (drawn.accumulation, drawn.depth))
    seen = head.render(pose, size)
    overlap = np.minimum(mask, seen.mask).sum() / np.maximum(mask, seen.mask).sum()
    assert overlap > 0.93, "voxels round the outline off"
    error = (depth - seen.depth)[(mask > 0.999) & (seen.mask == 1)]
    assert np.abs(np.median(error)) < 0.02 and np.quantile(np.abs(error), 0.9) < 0.05


def test_no_head_leaves_the_picture():
    """Even at the corners of the poses' range."""
    pose = HeadPose(0.7, 0.35, 0.17, (0.1, 0.08, -0.2), 0.49)
    for seed in range(3):
        mask = ToyHead(seed).render(pose, 32).mask
        assert 0.2 < mask.mean() < 0.8


def test_rays_far_from_a_ball_around_an_ellipsoid_are_left_out_and_change_nothing(monkeypatch):
    pose = HeadPose(yaw=0.5, pitch=-0.2, jaw=0.3, shift=(0.1, -0.1, 0.2))
    quick = ToyHead(4).render(pose, 24)
    monkeypatch.setattr(solids, "_rays_near", lambda rays, *_: np.arange(len(rays)))
    whole = ToyHead(4).render(pose, 24)
    for name in ("rgb", "mask", "parts", "depth", "normal"):
        np.testing.assert_array_equal(getattr(quick, name), getattr(whole, name), err_msg=name)
