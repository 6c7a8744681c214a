"""Colours of the skin of a painted body that turns, whose poses are known."""

import numpy as np
import pytest
import torch
from turning_bodies import FIELD_OF_VIEW, HEIGHT, WHOLE, WIDTH, painted_pictures, seen_bodies, turning_states

from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.process.skin_colours import SkinColours

FRAMES = 8
CAMERA = WHOLE.camera_matrix(FIELD_OF_VIEW)
BLUR = 0.01


@pytest.fixture(scope="module")
def states():
    return turning_states(FRAMES)


@pytest.fixture(scope="module")
def skin(states):
    """All vertices in all frames, metres, in camera axes."""
    body = load_standin()
    return torch.stack([body.pose(state).vertices for state in states])


@pytest.fixture(scope="module")
def rows(skin):
    return torch.linspace(0, skin.shape[1] - 1, 2000).long()


@pytest.fixture
def colours(states, skin, rows):
    masks = [one.mask for one in seen_bodies(states)]
    found = SkinColours(painted_pictures(states), masks, load_standin().faces.numpy(), rows)
    found.look(skin.numpy(), CAMERA, BLUR)
    return found


def shares(skin):
    """Where vertices are seen, as shares of the pictures' width and height."""
    projected = skin @ torch.from_numpy(CAMERA).float().T
    return projected[..., :2] / projected[..., 2:] / torch.tensor([WIDTH, HEIGHT])


def test_colours_agree_in_true_poses_and_differ_more_the_more_wrong_they_are(colours, skin, rows):
    places = shares(skin[:, rows])
    moved = [places + 0.01 * pixels * torch.tensor([1, -1] * (FRAMES // 2))[:, None, None] for pixels in (0, 1, 2)]
    right, wrong, very_wrong = (float(colours.disagreement(one)) for one in moved)
    assert right < 0.08
    assert 2 * right < wrong < very_wrong < 1


def test_the_gradient_leads_back(colours, skin, rows):
    """One frame of all is a pixel and a half too far to the right."""
    places = shares(skin[:, rows])
    off = torch.zeros(FRAMES, 1, 2)
    off[2, 0, 0] = 1.5 / WIDTH
    off.requires_grad_()
    colours.disagreement(places + off).backward()
    assert off.grad is not None
    along = off.grad[:, 0, 0]
    assert along[2] > 0 and along[2] > 1.5 * along[[0, 1, 3, 4, 5, 6, 7]].abs().max()


def test_skin_that_is_hidden_or_oblique_does_not_count(colours, skin, rows):
    """What is on the other side of the trunk may be anywhere, and nothing changes."""
    at = skin[0, rows]
    centre = at.mean(0)
    behind = (at[:, 2] > centre[2] + 0.05) & (at[:, :2] - centre[:2]).abs().lt(0.1).all(1)
    assert behind.sum() > 10
    places = shares(skin[:, rows])
    elsewhere = places.clone()
    elsewhere[0, behind] = 0.5
    assert float(colours.disagreement(elsewhere)) == pytest.approx(float(colours.disagreement(places)), abs=1e-6)


def test_places_outside_the_mask_do_not_count(colours, skin, rows):
    """In one frame all places are beside the person, so that the other frames alone are compared."""
    places = shares(skin[:, rows])
    elsewhere = places.clone()
    elsewhere[3] = 0.01
    others = colours.disagreement(elsewhere)
    colours._facing[3] = 0
    assert float(others) == pytest.approx(float(colours.disagreement(places)), abs=1e-6)


def test_large_pictures_are_compared_smaller(states, skin, rows):
    """Three times as large, the same body looks the same."""
    large = [np.repeat(np.repeat(one, 3, 0), 3, 1) for one in painted_pictures(states)]
    masks = [np.repeat(np.repeat(one.mask, 3, 0), 3, 1) for one in seen_bodies(states)]
    found = SkinColours(large, masks, load_standin().faces.numpy(), rows)
    found.look(skin.numpy(), np.diag([3.0, 3.0, 1.0]) @ CAMERA, BLUR)
    assert found._images.shape[-2] < 3 * HEIGHT
    assert float(found.disagreement(shares(skin[:, rows]))) < 0.08
