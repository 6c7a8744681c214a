"""The view that the page opens with, projected by nerfstudio's own camera."""

import math

import pytest
import torch

from nerfstudio_avatars.avatars.cameras import orbit
from nerfstudio_avatars.motion import load_motion
from nerfstudio_avatars.studio.opening_view import opening_view


def _pixels(view, points, aspect):
    """Places in the picture, from -1 to 1 along its height, and to `aspect` along its width."""
    position, target = torch.tensor(view.position), torch.tensor(view.look_at)
    back = torch.nn.functional.normalize(position - target, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]), back), dim=0)
    up = torch.linalg.cross(back, right)
    local = (points - position) @ torch.stack([right, up, back], 1)
    return local[:, :2] / -local[:, 2:] / math.tan(view.field_of_view / 2)


@pytest.mark.parametrize("aspect", [0.5, 1.0, 1.8])
@pytest.mark.parametrize("name", ["walk", "cartwheel", "crawl"])
def test_the_whole_body_is_in_the_picture_and_fills_it(standin, name, aspect):
    state = load_motion(name).state(0)
    body = standin.pose(state)
    view = opening_view(body.vertices, body.joints, state.global_orient, aspect)
    seen = _pixels(view, body.vertices, aspect)
    assert seen[:, 1].abs().max() < 0.95 and seen[:, 0].abs().max() < 0.95 * aspect
    assert seen[:, 1].abs().max() > 0.6 or seen[:, 0].abs().max() > 0.6 * aspect


def test_it_looks_at_the_face_from_the_height_of_the_eyes(standin):
    state = load_motion("walk").state(0)
    body = standin.pose(state)
    view = opening_view(body.vertices, body.joints, state.global_orient, 1.0)
    assert view.position[2] == pytest.approx(float(body.joints[15, 2]), abs=0.05)
    front = orbit(torch.zeros(1, 3), torch.zeros(1), 0.0)[0, :2, 3]
    place = torch.tensor(view.position)[:2] - torch.tensor(view.look_at)[:2]
    assert torch.nn.functional.cosine_similarity(place, front, dim=0) > 0.95


def test_whoever_turns_away_is_still_seen_from_the_front(standin):
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned = load_motion("walk").in_frame(quarter, torch.zeros(3), torch.zeros(3))
    body = standin.pose(turned.state(0))
    view = opening_view(body.vertices, body.joints, turned.state(0).global_orient, 1.0)
    assert view.position[0] - view.look_at[0] < -1.0
