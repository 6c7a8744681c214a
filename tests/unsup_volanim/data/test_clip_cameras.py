"""The camera against the method's own conventions."""

import math

import torch

from nerfstudio_avatars.unsup_volanim import voxel_render
from nerfstudio_avatars.unsup_volanim.data.clip_cameras import DISTANCE, FAR, FOCAL, NEAR, clip_cameras, clip_scene_box
from nerfstudio_avatars.unsup_volanim.data.clip_table import Clip, ClipTable

SIZE = 64
TABLE = ClipTable([Clip("a", "", 9), Clip("b", "", 1)])
ROWS = torch.tensor([[0, 0], [0, 4], [0, 8], [1, 0]])


def to_world(x_method):
    """From about the object's middle (x right, y down, z forward) into the world."""
    x, y, z = x_method.unbind(-1)
    return torch.stack([-x, -z, -y], -1)


def test_constants_are_the_renderers():
    assert (FOCAL, DISTANCE) == (voxel_render.FOCAL, voxel_render.DISTANCE)
    assert (NEAR, FAR) == (DISTANCE - voxel_render.REACH, DISTANCE + voxel_render.REACH)
    assert math.isclose(FOCAL, 11.3994, abs_tol=1e-4)


def test_rays_are_the_renderers_pixel_by_pixel():
    rays = clip_cameras(TABLE, ROWS, SIZE).generate_rays(1, keep_shape=True)
    expected = voxel_render.standard_rays(SIZE)
    torch.testing.assert_close(rays.origins.flatten(0, 1), to_world(expected.origins))
    directions = torch.nn.functional.normalize(to_world(expected.directions), dim=-1)
    torch.testing.assert_close(rays.directions.flatten(0, 1), directions, atol=1e-6, rtol=0)


def test_points_are_seen_where_the_pinhole_puts_them():
    """x = f X / Z from -1 to 1 across the picture; pixel centres are at halves."""
    camera = clip_cameras(TABLE, ROWS, SIZE)[0]
    points = torch.tensor([[0.0, 0.0, 0.0], [0.3, -0.5, 0.7], [-1.0, 0.2, -0.9]])
    x, y, z = points.unbind(-1)
    expected = torch.stack([FOCAL * x / (z + 10.5), FOCAL * y / (z + 10.5)], -1)
    rotation, origin = camera.camera_to_worlds[:, :3], camera.camera_to_worlds[:, 3]
    seen = (to_world(points) - origin) @ rotation
    columns = camera.fx * seen[:, 0] / -seen[:, 2] + camera.cx
    rows = camera.cy - camera.fy * seen[:, 1] / -seen[:, 2]
    torch.testing.assert_close(torch.stack([columns, rows], -1) / (SIZE / 2) - 1, expected)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.tensor(1.0))


def test_cameras_say_which_frame_they_stand_for():
    cameras = clip_cameras(TABLE, ROWS, SIZE)
    assert cameras.shape == (4,)
    assert cameras.metadata["clip"].dtype == torch.long
    assert cameras.metadata["clip"][:, 0].tolist() == [0, 0, 0, 1]
    assert cameras.metadata["frame"].tolist() == [[0], [4], [8], [0]]
    assert cameras.times.tolist() == [[0], [0.5], [1], [0]]
    assert cameras.camera_to_worlds.dtype == cameras.fx.dtype == torch.float32
    assert cameras[2:3].metadata["frame"].tolist() == [[8]]


def test_the_box_holds_what_the_camera_sees():
    box = clip_scene_box().aabb
    half = torch.tensor(voxel_render.SCENE)[[0, 2, 1]]
    torch.testing.assert_close(box, torch.stack([-half, half]))
