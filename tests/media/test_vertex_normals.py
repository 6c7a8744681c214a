"""Normals against those of a sphere."""

import numpy as np
import pytest
import trimesh

from nerfstudio_avatars.media.vertex_normals import vertex_normals


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_normals_of_a_sphere_point_away_from_its_middle(kind):
    ball = trimesh.creation.icosphere(4)
    found = vertex_normals((2 * ball.vertices).astype(kind), ball.faces)
    assert found.dtype == kind
    np.testing.assert_allclose(found, ball.vertices, atol=0.01)


def test_a_vertex_of_no_triangle_points_upwards():
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]])
    found = vertex_normals(corners, np.array([[0, 1, 2]]))
    np.testing.assert_allclose(found, [[0, 0, 1]] * 3 + [[0, 1, 0]])
