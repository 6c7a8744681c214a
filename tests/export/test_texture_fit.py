"""A texture that was drawn from all around is found again from the pictures."""

import numpy as np
import pytest
import torch

from nerfstudio_avatars.avatars import cameras
from nerfstudio_avatars.export.mesh_picture import bilinear, draw, lookups
from nerfstudio_avatars.export.texture_fit import View, fit_texture


def looks(mesh, count, size, shift=0.0):
    """Cameras in a ring about the mesh, which has y up: turned to z up."""
    vertices = np.ascontiguousarray(mesh.vertices @ np.float32([[-1, 0, 0], [0, 0, 1], [0, 1, 0]]))
    middle = torch.from_numpy((vertices.max(0) + vertices.min(0)) / 2)
    angles = (torch.arange(count) / count + shift) * 2 * torch.pi
    views = torch.cat([cameras.orbit(middle.expand(count, 3), angles, lift) for lift in (0.0, 0.7, -0.7)])
    focal = cameras.focal_length(1.0, size, size)
    return vertices, [cameras.cameras(view[None], focal, size, size) for view in views]


def pictures(body, count, size, shift=0.0):
    vertices, around = looks(body.mesh, count, size, shift)
    return [View(draw(body.mesh, body.texture, vertices, camera, 1), vertices, camera) for camera in around]


def psnr(body, texture, view):
    shown = draw(body.mesh, texture, view.vertices, view.camera, 1)
    inside = shown[..., 3] > 0
    return -10 * np.log10(((shown - view.picture)[inside] ** 2).mean())


@pytest.mark.slow
def test_the_texture_is_found_again_and_new_views_show_it(skinned_body):
    grey = np.full((len(skinned_body.mesh.vertices), 3), 0.5)
    fitted = fit_texture(skinned_body.mesh, grey, pictures(skinned_body, 12, 300), 256)
    assert fitted.min() >= 0 and fitted.max() <= 1
    for view in pictures(skinned_body, 2, 300, shift=0.03):
        before = psnr(skinned_body, np.full_like(fitted, 0.5), view)
        assert psnr(skinned_body, fitted, view) > before + 12


def test_what_nobody_saw_is_as_the_guess(skinned_body):
    colours = np.linspace(0, 1, len(skinned_body.mesh.vertices))[:, None] * [1, 0.5, 0.2]
    fitted = fit_texture(skinned_body.mesh, colours, [], 128)
    texels, shares = bilinear(skinned_body.mesh.uv, 128)
    found = (shares[..., None] * fitted.reshape(-1, 3)[texels]).sum(1)
    assert np.median(abs(found - colours)) < 0.02


def test_texels_lie_where_gltf_says():
    """The centre of the first texel is half a texel from the upper left corner."""
    texels, shares = bilinear(np.array([[0.5 / 4, 0.5 / 4], [1.5 / 4, 0.5 / 4], [0.25, 0.5 / 4], [1, 1]]), 4)
    assert (texels[0][shares[0] > 0.999] == [0]).all() and (texels[1][shares[1] > 0.999] == [1]).all()
    assert sorted(texels[2][shares[2] > 0.4]) == [0, 1]
    assert texels[3][shares[3].argmax()] == 15


def test_what_faces_the_camera_has_a_cosine_of_one(skinned_body):
    vertices, around = looks(skinned_body.mesh, 1, 200)
    found = lookups(skinned_body.mesh, vertices, around[0])
    assert found.facing.max() > 0.99 and found.facing.min() > -0.2 and np.median(found.facing) > 0.6
