"""The mesh of an avatar: closed, within its budget, and moved as the avatar moves."""

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from nerfstudio_avatars import Avatar
from nerfstudio_avatars.export.rigged_mesh import rigged_mesh, simplified, smoothed, strongest
from nerfstudio_avatars.instant_avatar.surface import Surface, posed_surface
from nerfstudio_avatars.media.rasteriser import rasterise
from nerfstudio_avatars.media.vertex_normals import vertex_normals


@pytest.fixture(scope="module")
def model(orphan):
    return Avatar.load(orphan).model


@pytest.fixture(scope="module")
def mesh(model):
    return rigged_mesh(model.avatar, 6000)


def test_it_is_closed_within_its_budget_and_in_one_piece(mesh):
    import trimesh

    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True, merge_tex=True, merge_norm=True)
    assert 5000 < len(mesh.faces) <= 6050
    # Simplified surfaces may touch themselves; where one ends, an edge belongs to one triangle alone.
    _, triangles = np.unique(solid.edges_sorted, axis=0, return_counts=True)
    assert (triangles % 2 == 0).all() and 0.01 < solid.volume < 0.2 and solid.body_count == 1


def covered_and_charted(uv, faces, size=2048):
    """The share of the texture under triangles, and the sum of the areas of these, which is more if they overlap."""
    flat = np.concatenate([uv * size - 0.5, np.ones((len(uv), 1))], 1)
    a, b, c = np.moveaxis(uv[faces].astype(float), 1, 0)
    area = abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).sum() / 2
    return (rasterise(flat, faces, np.eye(3), size, size).face >= 0).mean(), area


def test_charts_lie_in_the_texture_and_do_not_overlap(mesh):
    assert mesh.uv.min() >= 0 and mesh.uv.max() <= 1
    covered, charted = covered_and_charted(mesh.uv, mesh.faces)
    assert covered == pytest.approx(charted, rel=0.01)
    covered, charted = covered_and_charted(
        mesh.uv % 0.5, mesh.faces[np.ptp(mesh.uv[mesh.faces] % 0.5, axis=1).max(1) < 0.1]
    )
    assert covered < 0.8 * charted, "four quarters over one another are found"


def test_charts_keep_apart_and_still_fill_the_texture(mesh):
    """Four texels of a texture of 1024, so that the second copy, a quarter as large, does not mix two charts."""
    from scipy.ndimage import distance_transform_edt

    size = 1024
    welded = np.unique(mesh.uv, axis=0, return_inverse=True)[1].reshape(-1)[mesh.faces]
    edges = np.concatenate([welded[:, :2], welded[:, 1:]])
    links = coo_matrix((np.ones(len(edges)), edges.T), (welded.max() + 1,) * 2)
    chart = connected_components(links, directed=False)[1][welded[:, 0]]
    flat = np.concatenate([mesh.uv * size - 0.5, np.ones((len(mesh.uv), 1))], 1)
    face = rasterise(flat, mesh.faces, np.eye(3), size, size).face
    assert len(set(chart)) > 3 and (face >= 0).mean() > 0.25
    largest = np.argsort(-np.bincount(chart[face[face >= 0]]))[:8]
    for one in largest:
        mine = (face >= 0) & (chart[face] == one)
        others = (face >= 0) & (chart[face] != one)
        assert distance_transform_edt(~mine)[others].min() > 4


def test_posed_vertices_lie_where_the_avatars_own_surface_moves(model, mesh):
    transforms = model.poses.transforms_of(model.poses.state(3)).detach()
    vertices = torch.from_numpy(mesh.vertices)
    surface = Surface(vertices, torch.from_numpy(mesh.faces).long(), torch.zeros_like(vertices))
    truth = posed_surface(surface, model.avatar.pose(transforms), model.avatar.volume).vertices.numpy()
    error = np.linalg.norm(mesh.posed(transforms) - truth, axis=1)
    assert np.median(error) < 0.002 and np.quantile(error, 0.99) < 0.03


def test_four_weights_are_the_largest_and_sum_to_one():
    weights = np.zeros((2, 24), np.float32)
    weights[0, [3, 5, 7, 9, 11]] = [0.1, 0.4, 0.2, 0.25, 0.05]
    weights[1, 23] = 1
    joints, kept = strongest(weights)
    assert joints[0].tolist() == [5, 9, 7, 3] and np.allclose(kept[0], np.array([0.4, 0.25, 0.2, 0.1]) / 0.95)
    assert joints[1].tolist() == [23, 0, 0, 0] and kept[1].tolist() == [1, 0, 0, 0]


def test_noise_goes_and_the_size_stays():
    import trimesh

    sphere = trimesh.creation.icosphere(5)
    rough = sphere.vertices * (1 + np.random.default_rng(0).normal(0, 0.004, (len(sphere.vertices), 1)))
    smooth = np.linalg.norm(smoothed(rough.astype(np.float32), sphere.faces), axis=1)
    assert smooth.std() < 0.5 * np.linalg.norm(rough, axis=1).std() and abs(smooth.mean() - 1) < 1e-3


def test_a_simplified_sphere_is_still_one():
    import trimesh

    sphere = trimesh.creation.icosphere(5)
    vertices, faces = simplified(sphere.vertices.astype(np.float32), sphere.faces.astype(np.int32), 2000)
    assert 1900 < len(faces) <= 2000 and abs(np.linalg.norm(vertices, axis=1) - 1).max() < 0.01
    assert trimesh.Trimesh(vertices, faces).is_watertight
    np.testing.assert_allclose(vertex_normals(vertices, faces), vertices, atol=0.1)
    same, _ = simplified(vertices, faces, 10**6)
    assert same is vertices
