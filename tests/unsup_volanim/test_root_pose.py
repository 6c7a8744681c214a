"""The motion that parts share: known motions of the whole come back."""

import torch

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.unsup_volanim.root_pose import PartPlaces, part_places
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from tests.helpers.toy_heads import small_network

PLACES = PartPlaces(torch.tensor([[0.3, 0.0, 0.0], [-0.3, 0.2, 0.1], [0.0, -0.5, 0.0]]), torch.tensor([0.5, 0.3, 0.2]))


def test_parts_that_move_as_one_have_its_motion():
    torch.manual_seed(0)
    whole = PartPoses(axis_angle_to_matrix(torch.randn(4, 1, 3)), torch.randn(4, 1, 3))
    found = PLACES.root(PartPoses(whole.rotation.expand(4, 3, 3, 3), whole.translation.expand(4, 3, 3)))
    torch.testing.assert_close(found.rotation, whole.rotation, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.translation, whole.translation, atol=1e-5, rtol=0)


def test_the_root_is_a_rotation_and_the_centroid_moves_as_the_mean_of_the_parts():
    torch.manual_seed(1)
    poses = PartPoses(axis_angle_to_matrix(2 * torch.randn(20, 3, 3)), torch.randn(20, 3, 3))
    root = PLACES.root(poses)
    torch.testing.assert_close(root.rotation @ root.rotation.mT, torch.eye(3).expand(20, 1, 3, 3), atol=1e-5, rtol=0)
    assert bool((torch.linalg.det(root.rotation) > 0.99).all())
    centroid = (root.rotation[:, 0] @ PLACES.middle[:, None])[..., 0] + root.translation[:, 0]
    each = (poses.rotation @ PLACES.middles[..., None])[..., 0] + poses.translation
    torch.testing.assert_close(centroid, (PLACES.shares[:, None] * each).sum(1), atol=1e-5, rtol=0)


def test_parts_of_a_network_have_places_within_its_scene():
    network = small_network(3, parts=2)
    network.articulate(0.1)
    places = part_places(network)
    assert places.middles.shape == (2, 3) and bool((places.middles.abs() < network.scene).all())
    torch.testing.assert_close(places.shares.sum(), torch.tensor(1.0))
