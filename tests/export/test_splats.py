"""Splats that follow a mesh, and their fit to pictures."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.avatars import cameras
from nerfstudio_avatars.bodies.body_model import JOINT_PARENTS
from nerfstudio_avatars.bodies.linear_blend_skinning import joint_transforms
from nerfstudio_avatars.export.mesh_picture import bilinear, draw
from nerfstudio_avatars.export.splat_fit import SplatView, fit_splats, splats_on
from nerfstudio_avatars.export.splats import Splats, quaternions, turned


def colours_of(body):
    """The texture at the vertices."""
    texels, shares = bilinear(body.mesh.uv, len(body.texture))
    return (shares[..., None] * body.texture.reshape(-1, 3)[texels]).sum(1)


def test_turns_are_rotations_and_back():
    truth = Rotation.random(50, random_state=0)
    wxyz = torch.from_numpy(np.roll(truth.as_quat(), 1, -1))
    np.testing.assert_allclose(turned(3 * wxyz), truth.as_matrix(), atol=1e-12)
    again = quaternions(torch.from_numpy(truth.as_matrix()))
    assert (again[:, 0] >= 0).all()
    np.testing.assert_allclose(abs((again * wxyz).sum(1)), 1)


def test_sheared_splats_have_the_covariance_that_the_map_gives():
    draw = torch.Generator().manual_seed(0)
    rand = lambda *shape: torch.randn(*shape, generator=draw)  # noqa: E731
    splats = Splats(rand(40, 3), torch.nn.functional.normalize(rand(40, 4), dim=-1), rand(40, 3).exp(), rand(40, 3),
                    rand(40))  # fmt: skip
    by = rand(40, 3, 4)
    moved = splats.moved(by)
    truth = by[..., :3] @ splats.axes @ splats.axes.mT @ by[..., :3].mT
    torch.testing.assert_close(moved.axes @ moved.axes.mT, truth, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        moved.centres, (by @ torch.nn.functional.pad(splats.centres, (0, 1), value=1)[..., None])[..., 0]
    )


def test_they_start_on_the_surface_and_follow_their_vertices(skinned_body, kick):
    mesh = skinned_body.mesh
    begun = splats_on(mesh, colours_of(skinned_body), 3000)
    near = np.linalg.norm(begun.splats.centres.numpy() - mesh.vertices[begun.vertices], axis=1)
    assert near.max() < 0.12 and np.median(near) < 0.02
    thin = turned(begun.splats.turns)[:, :, 2].numpy()
    assert begun.splats.sizes[:, 2].max() < begun.splats.sizes[:, :2].min()
    assert np.median((thin * mesh.normals[begun.vertices]).sum(1)) > 0.98
    transforms = joint_transforms(
        skinned_body.skeleton.rest_joints, kick.global_orient[12], kick.body_pose[12], kick.transl[12], JOINT_PARENTS
    ) @ torch.linalg.inv(skinned_body.canonical)
    posed = begun.posed(mesh.moved(transforms))
    away = np.linalg.norm(posed.centres.numpy() - mesh.posed(transforms)[begun.vertices], axis=1)
    assert np.quantile(abs(away - near), 0.95) < 0.003 and np.ptp(posed.centres.numpy(), axis=0).max() > 1


@pytest.mark.slow
def test_fitted_splats_look_like_the_mesh_from_sides_that_they_were_not_fitted_to(skinned_body):
    mesh, count, size = skinned_body.mesh, 6000, 160
    still = np.eye(3, 4, dtype=np.float32)[None].repeat(len(mesh.vertices), 0)
    middle = torch.from_numpy((mesh.vertices.max(0) + mesh.vertices.min(0)) / 2)

    def looks(angles):
        poses = cameras.orbit(middle.expand(len(angles), 3), angles, 0.3)
        return [cameras.cameras(pose[None], cameras.focal_length(1.0, size, size), size, size) for pose in poses]

    seen = [
        (camera, draw(mesh, skinned_body.texture, mesh.vertices, camera)) for camera in looks(torch.arange(0, 6.2, 0.4))
    ]
    pale = colours_of(skinned_body) * 0.5 + 0.25
    views = [SplatView.cropped(picture, still, camera) for camera, picture in seen]
    with torch.no_grad():  # As the studio asks for them.
        fitted = fit_splats(mesh, pale, views, count, 120)
    for camera in looks(torch.tensor([0.2, 3.0])):
        truth = draw(mesh, skinned_body.texture, mesh.vertices, camera)
        before, after = (
            -10 * np.log10(((one.splats.draw(camera).numpy() - truth)[truth[..., 3] > 0.5] ** 2).mean())
            for one in (splats_on(mesh, pale, count), fitted)
        )
        assert after > before + 3
