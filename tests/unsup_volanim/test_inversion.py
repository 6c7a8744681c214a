"""Identities found from pictures: of heads trained on, and of one never seen."""

from dataclasses import replace

import pytest
import torch
from toy_heads import ToyHeads

from nerfstudio_avatars.unsup_volanim.inversion import (
    IdentityInversionConfig,
    _move_in_plane,
    background_behind,
    invert_identity,
)
from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import pixel_grid

pytestmark = pytest.mark.slow
QUICK = IdentityInversionConfig(code_steps=60, tune_steps=60, code_rate=0.1)


@pytest.fixture(scope="module")
def stranger():
    """Two pictures of a head that was not learned from."""
    return ToyHeads(range(30, 31), frames=8).images[[1, 4]]


def found(network, pictures, **options):
    torch.manual_seed(0)
    return invert_identity(network, pictures, replace(QUICK, **options))


def test_the_code_of_somebody_trained_on_is_found_again(oracle, four_heads):
    """Measured over three sets of heads: 24 to 38 % of the average identity's error are left."""
    pictures = four_heads.images[[four_heads.frames + 1, four_heads.frames + 4]]
    identity = found(oracle, pictures, tune_steps=0)
    assert identity.errors["code"] < 0.5 * identity.errors["start"]
    assert identity.errors["tuned"] == identity.errors["code"]
    with torch.no_grad(), oracle.evaluating():
        torch.testing.assert_close(identity.cube, oracle.cubes_of(identity.code[None])[0])
    assert identity.code.shape == (4,) and not identity.cube.requires_grad


def test_a_stranger_takes_tuning_which_keeps_the_shape(oracle, stranger):
    """Measured over three sets of heads.

    The code leaves 54 to 80 % of the error, the tuned generator 24 to 32 %. The density changes by 2 to 4 % with the
    geometry's term, by 28 to 36 % without.
    """
    identity, loose = (found(oracle, stranger, geometry_weight=weight) for weight in (100.0, 0.0))
    errors = identity.errors
    assert errors["code"] < 0.9 * errors["start"]
    assert errors["tuned"] < 0.75 * errors["code"] and errors["tuned"] < 0.5 * errors["start"]
    before = found(oracle, stranger, tune_steps=0)
    assert before.errors["code"] == pytest.approx(errors["code"])
    assert shape_change(before, identity) < 0.1
    assert shape_change(before, loose) > 3 * shape_change(before, identity)


def shape_change(before, after):
    """Of the density, as a share of all of it."""
    old, new = (identity.cube[-1].relu() for identity in (before, after))
    return float((new - old).abs().mean() / old.mean())


def test_the_network_stays_as_it_is_and_progress_is_told(oracle, stranger):
    before = {name: value.clone() for name, value in oracle.state_dict().items()}
    told = []
    torch.manual_seed(0)
    quick = replace(QUICK, code_steps=2, tune_steps=3, size=16)
    identity = invert_identity(oracle, stranger, quick, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 5) for done in range(1, 6)]
    torch.testing.assert_close(dict(oracle.state_dict()), before, rtol=0, atol=0)
    assert all(one.requires_grad for one in oracle.parameters())
    assert identity.cube.shape == oracle.cubes_of(identity.code[None]).shape[1:]


def test_a_perceptual_loss_is_asked_in_both_stages(oracle, stranger):
    seen = []

    def compare(rendered, target):
        seen.append((rendered.shape, target.shape))
        return (rendered - target).square().mean()

    quick = replace(QUICK, code_steps=2, tune_steps=2, pictures_per_step=1)
    invert_identity(oracle, stranger, quick, compare)
    assert seen == [((1, 32, 32, 3), (1, 32, 32, 3))] * 4
    seen.clear()
    invert_identity(oracle, stranger, replace(quick, perceptual_weight=0.0), compare)
    assert not seen


def test_pictures_moved_in_their_plane_are_turned_and_shifted_a_little():
    torch.manual_seed(0)
    x, y = pixel_grid(32).unbind(-1)
    spot = torch.exp(-((x - 0.4).square() + y.square()) / 0.02).expand(500, 1, 32, 32)
    moved = _move_in_plane(spot)
    mass = moved.sum((1, 2, 3))
    middle = torch.stack([(moved[:, 0] * one).sum((1, 2)) / mass for one in (x, y)], 1)
    whole = mass > 0.98 * mass.max()
    assert whole.float().mean() > 0.8
    # Sideways the shift alone; up and down the shift and the turn's lever of 0.4.
    assert middle[whole].mean(0).tolist() == pytest.approx([0.4, 0.0], abs=0.05)
    assert middle[whole, 0].std().item() == pytest.approx(0.15, abs=0.03)
    assert middle[whole, 1].std().item() == pytest.approx((0.15**2 + 0.06**2) ** 0.5, abs=0.03)


@pytest.fixture(scope="module")
def disc():
    """Smooth backgrounds, and a red disc in the second of two pictures."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 32), indexing="ij")
    behind = torch.stack([x, y, 0.5 * torch.ones_like(x)])
    mask = ((x - 0.5).square() + (y - 0.5).square() < 0.06).float()[None]
    return behind, mask, torch.lerp(behind, torch.tensor([1.0, 0.0, 0.0])[:, None, None], mask)


def test_the_background_goes_on_smoothly_behind_the_object(disc):
    behind, mask, picture = disc
    filled = background_behind(picture[None], mask[None])[0]
    away = torch.nn.functional.max_pool2d(mask, 3, 1, 1)[0] == 0
    torch.testing.assert_close(filled[:, away], picture[:, away])
    assert (filled - behind).abs().mean() < 0.1


def test_what_one_picture_hides_another_may_show(disc):
    behind, mask, picture = disc
    masks = torch.stack([mask, torch.zeros_like(mask)])
    filled = background_behind(torch.stack([picture, behind]), masks)[0]
    torch.testing.assert_close(filled, behind)
    everywhere = background_behind(picture[None], torch.ones(1, 1, 32, 32))
    assert everywhere.isfinite().all()


def test_a_background_of_one_colour_goes_on_in_that_colour(disc):
    """However little of it the object leaves free."""
    _, mask, _ = disc
    wide = torch.nn.functional.max_pool2d(mask, 13, 1, 6)
    filled = background_behind(torch.full((1, 3, 32, 32), 0.7), wide[None])
    torch.testing.assert_close(filled, torch.full_like(filled, 0.7))
