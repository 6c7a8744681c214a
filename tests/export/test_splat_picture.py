"""Pictures of splats: the fast kernels against every splat at every pixel in plain torch."""

import pytest
import torch

from nerfstudio_avatars.avatars import cameras
from nerfstudio_avatars.export.splat_picture import flattened, picture
from tests.helpers.plain_splats import plain_picture

HEIGHT, WIDTH = 40, 30


@pytest.fixture
def camera():
    views = cameras.orbit(torch.zeros(1, 3), torch.tensor([0.7]), 0.3)
    return cameras.cameras(views, 50.0, HEIGHT, WIDTH)


def some_splats(count=60, seed=3):
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(count, 3, generator=draw) * torch.tensor([0.5, 0.5, 0.6])
    axes = torch.randn(count, 3, 3, generator=draw) * 0.12
    opacities = torch.rand(count, generator=draw) * 1.1
    return centres, axes, opacities, torch.rand(count, 3, generator=draw)


def ours(centres, axes, opacities, colours, camera):
    return picture(flattened(centres, axes, opacities, camera), colours, HEIGHT, WIDTH)


def test_pictures_are_those_of_the_specification(camera):
    splats = some_splats()
    found, truth = ours(*splats, camera), plain_picture(*splats, camera)
    assert truth[..., 3].max() > 0.95 and truth[..., 3].std() > 0.2
    torch.testing.assert_close(found, truth, atol=2e-4, rtol=0)


def test_gradients_are_those_of_the_specification(camera):
    wish = torch.randn(HEIGHT, WIDTH, 4, generator=torch.Generator().manual_seed(0))
    found, truth = (
        torch.autograd.grad((draw(*given, camera) * wish).sum(), given)
        for draw in (ours, plain_picture)
        for given in [[one.requires_grad_() for one in some_splats()]]
    )
    for one, other in zip(found, truth, strict=True):
        assert other.abs().max() > 1
        torch.testing.assert_close(one, other, atol=1e-3 * float(other.abs().max()), rtol=1e-3)


def test_what_is_behind_the_camera_is_not_drawn(camera):
    centres, *rest = some_splats()
    behind = camera.camera_to_worlds.reshape(3, 4)[:, 3] * 1.5
    assert ours(centres + behind, *rest, camera).abs().max() == 0
