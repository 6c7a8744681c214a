"""An avatar in another shape is where its body model says that the body is."""

import numpy as np
import pytest
import torch

from nerfstudio_avatars import Avatar
from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.instant_avatar.avatar import CanonicalAvatarConfig
from nerfstudio_avatars.instant_avatar.poses.pose_table import canonical_state
from nerfstudio_avatars.instant_avatar.reshaping import Reshaping, can_be_reshaped
from nerfstudio_avatars.motion import load_motion

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(orphan):
    model = Avatar.load(orphan).model
    with torch.no_grad():
        model.poses.shared_correction.zero_()
        model.poses.joint_offsets.zero_()
    return model


@pytest.fixture
def reshaping(model):
    return Reshaping(model.person.body, model.poses, model.avatar.volume)


@pytest.fixture
def other(model):
    betas = model.poses.betas.clone()
    betas[:3] += torch.tensor([2.0, -1.0, 1.5])
    walk = load_motion("walk")[11]
    return BodyState(betas, walk.global_orient, walk.body_pose, walk.transl)


def test_the_skin_goes_where_the_body_has_it(model, other, reshaping):
    body = model.person.body
    canonical = body.pose(canonical_state(model.poses.betas)).vertices
    moved = canonical + reshaping.canonical_offsets(other.betas, canonical, body.weights)
    transforms = reshaping.transforms(other.betas, other.packed())
    blended = (body.weights @ transforms.flatten(1)).unflatten(1, (4, 4))
    found = (blended @ torch.nn.functional.pad(moved, (0, 1), value=1.0)[..., None])[:, :3, 0]
    truth = body.pose(other).vertices
    assert (found - truth).norm(dim=1).max() < 0.02 and (found - truth).norm(dim=1).mean() < 0.002
    own = body.pose(BodyState(model.poses.betas, other.global_orient, other.body_pose, other.transl)).vertices
    assert (own - truth).norm(dim=1).max() > 0.1, "the shape is another one"


def test_what_is_rendered_has_the_new_size(model, other, reshaping):
    nodes = reshaping.posed(model.avatar, other).nodes
    usual = model.posed(other).nodes
    own = BodyState(model.poses.betas, other.global_orient, other.body_pose, other.transl)
    body = model.person.body
    height, before = (np.ptp(body.pose(state).vertices[:, 2].numpy()) for state in (other, own))
    assert abs(height - before) > 0.1
    assert np.ptp(nodes[:, 2].numpy()) - np.ptp(usual[:, 2].numpy()) == pytest.approx(height - before, abs=0.03)


def test_the_own_shape_changes_nothing_and_soles_stay_on_the_ground(model, other, reshaping):
    walk = load_motion("walk")[11]
    own = BodyState(model.poses.betas, walk.global_orient, walk.body_pose, walk.transl)
    found = reshaping.posed(model.avatar, own).nodes
    torch.testing.assert_close(found, model.posed(own).nodes, atol=1e-5, rtol=0)
    body = model.person.body
    # Upright, y of the body is z of the world.
    upright = torch.tensor([torch.pi / 2, 0.0, 0.0])
    before = body.pose(BodyState(model.poses.betas, upright, torch.zeros(69), torch.zeros(3)))
    transl = reshaping.standing(other.betas)
    after = body.pose(BodyState(other.betas, upright, torch.zeros(69), transl))
    assert after.vertices[:, 2].min() == pytest.approx(float(before.vertices[:, 2].min()), abs=1e-4)
    torch.testing.assert_close(after.joints[0, :2], before.joints[0, :2], atol=1e-5, rtol=0)
    assert abs(after.vertices[:, 2].max() - before.vertices[:, 2].max()) > 0.05


def test_the_papers_search_follows_no_shape(model):
    body = model.person.body
    assert can_be_reshaped(body, CanonicalAvatarConfig())
    assert not can_be_reshaped(body, CanonicalAvatarConfig(articulation="broyden"))
