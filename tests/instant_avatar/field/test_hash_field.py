"""The canonical field: ranges, level schedule, exchangeable encodings."""

import sys

import pytest
import torch

from nerfstudio_avatars.instant_avatar.field.hash_field import HashField, HashFieldConfig

SMALL = {"levels": 4, "log2_table_size": 10, "width": 16}


def field(**options):
    torch.manual_seed(0)
    built = HashField(HashFieldConfig(**SMALL, **options), torch.zeros(3), 1.0)
    with torch.no_grad():
        built.table.uniform_(-0.5, 0.5)
    return built


def test_colours_are_colours_and_shapes_fit():
    built = field()
    density, geometry = built.density(torch.rand(50, 3) * 2 - 1)
    colour = built.colour(geometry)
    assert density.shape == (50,) and geometry.shape == (50, 15) and colour.shape == (50, 3)
    assert colour.min() >= 0 and colour.max() <= 1


def test_an_untrained_field_is_almost_constant():
    torch.manual_seed(0)
    built = HashField(HashFieldConfig(**SMALL), torch.zeros(3), 1.0)
    assert built.density(torch.rand(100, 3))[0].abs().max() < 1e-2


def test_points_beyond_the_cube_are_clamped_to_it():
    built = field(mixed_precision=False)
    inside, outside = torch.tensor([[1.0, 0.3, -1.0]]), torch.tensor([[5.0, 0.3, -9.0]])
    torch.testing.assert_close(built.density(inside)[0], built.density(outside)[0])


def test_closed_levels_do_not_count():
    built = field(mixed_precision=False)
    built.open_levels(2)
    before = built.density(torch.full((1, 3), 0.2))[0]
    with torch.no_grad():
        built.table[built.layout.offsets[2] :] = 7.0
    torch.testing.assert_close(built.density(torch.full((1, 3), 0.2))[0], before)
    built.open_levels(2.5)
    assert not torch.allclose(built.density(torch.full((1, 3), 0.2))[0], before)


def test_backends_share_one_table():
    fast, slow = field(mixed_precision=False), field(mixed_precision=False, implementation="torch")
    slow.load_state_dict(fast.state_dict())
    x = torch.rand(200, 3) * 2 - 1
    torch.testing.assert_close(fast.density(x)[0], slow.density(x)[0], atol=1e-5, rtol=1e-4)


def test_bfloat16_networks_stay_close():
    exact, quick = field(mixed_precision=False), field()
    x = torch.rand(300, 3) * 2 - 1
    torch.testing.assert_close(quick.density(x)[0], exact.density(x)[0], atol=0.03, rtol=0.03)


def test_tcnn_that_is_not_there_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    with pytest.raises(ImportError, match='implementation="auto"'):
        field(implementation="tcnn")


def test_tcnn_reads_and_trains_our_table(tinycudann):
    """Our table must reach it and get its gradient."""
    theirs, ours = field(implementation="tcnn", mixed_precision=False), field(mixed_precision=False)
    assert set(theirs.state_dict()) == set(ours.state_dict())
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(20, 3)
    torch.testing.assert_close(theirs.density(x)[0], ours.density(x)[0], atol=1e-5, rtol=1e-4)
    theirs.density(x)[0].sum().backward()
    assert theirs.table.grad.abs().sum() > 0
