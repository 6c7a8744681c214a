"""The avatar on a bent capsule: closed forms, both articulations, both kinds of empty space, gradients."""

import copy
import dataclasses

import pytest
import torch
from bent_capsule import LENGTH, RADIUS, bend, capsule_mesh

from nerfstudio_avatars.instant_avatar.avatar import CanonicalAvatar, CanonicalAvatarConfig
from nerfstudio_avatars.instant_avatar.field.hash_field import HashFieldConfig

SMALL = CanonicalAvatarConfig(
    field=HashFieldConfig(levels=4, log2_table_size=10, width=16, mixed_precision=False),
    step=0.01,
    template_prior=0.002,
)


@pytest.fixture(scope="module")
def mesh():
    return capsule_mesh()


@pytest.fixture(scope="module")
def avatar(mesh):
    torch.manual_seed(0)
    return CanonicalAvatar(SMALL, mesh)


def _rays(height: float, n: int = 41):
    """Parallel rays along y at one height, from left to right."""
    x = torch.linspace(-0.2, 0.2, n)
    origins = torch.stack([x, torch.full_like(x, -2.0), torch.full_like(x, height)], -1)
    return origins, torch.tensor([[0.0, 1.0, 0.0]]).repeat(n, 1), torch.full((n,), 0.5)


def test_the_untrained_avatar_is_the_template_itself(avatar):
    """Silhouette and depth of a sharp template prior are the capsule's."""
    origins, directions, jitter = _rays(LENGTH / 2)
    with torch.no_grad():
        seen = avatar.render(origins, directions, jitter, [(slice(0, 41), avatar.pose(bend(0.0)))])
    x = origins[:, 0].abs()
    assert (seen.accumulation[x < RADIUS - 0.02] > 0.5).all()
    assert (seen.accumulation[x > RADIUS + 0.02] < 0.1).all()
    middle = seen.depth[20, 0]
    assert abs(float(middle) - (2.0 - RADIUS)) < 0.03


def test_a_bent_capsule_is_seen_where_it_was_bent_to(avatar):
    """At a right angle the upper half lies along -y: rays through its old place pass freely."""
    origins, directions, jitter = _rays(LENGTH)
    with torch.no_grad():
        upright = avatar.render(origins, directions, jitter, [(slice(0, 41), avatar.pose(bend(0.0)))])
        bent = avatar.render(origins, directions, jitter, [(slice(0, 41), avatar.pose(bend(1.57)))])
    assert upright.accumulation[20] > 0.5
    assert bent.accumulation.max() < 0.1


def test_nodes_are_posed_by_linear_blend_skinning(avatar):
    """In one product: the same places and the same gradient as node by node."""
    fast, slow = bend(0.7).requires_grad_(), bend(0.7).requires_grad_()
    nodes, expected = avatar.pose(fast).nodes, avatar.volume.pose_nodes(slow)
    torch.testing.assert_close(nodes, expected, atol=1e-6, rtol=0)
    upstream = torch.randn(nodes.shape)
    (nodes * upstream).sum().backward()
    (expected * upstream).sum().backward()
    torch.testing.assert_close(fast.grad, slow.grad, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_poses_together_are_seen_as_one_by_one(avatar, monkeypatch, backend):
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", backend)
    rays, parts = _rays(LENGTH / 2), (slice(0, 10), slice(10, 35), slice(35, 41))
    bends = torch.stack([bend(angle) for angle in (0.0, 0.4, 1.3)])
    together = avatar.render(*rays, list(zip(parts, avatar.pose_all(bends), strict=True)))
    assert (together.accumulation > 0.1).any()
    for part, transforms in zip(parts, bends, strict=True):
        alone = avatar.render(
            *(each[part] for each in rays), [(slice(0, part.stop - part.start), avatar.pose(transforms))]
        )
        torch.testing.assert_close(together.premultiplied[part], alone.premultiplied, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.depth[part], alone.depth, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_picture_is_what_its_rays_see(avatar):
    """The pass without gradient and the one of the training: the same numbers, whatever the number of rays."""
    origins, directions, jitter = _rays(LENGTH / 2)
    posed = avatar.pose(bend(0.4))
    with torch.no_grad():
        rays = avatar.render(origins, directions, jitter, [(slice(0, 41), posed)])
    picture = avatar.render_picture(origins, directions, posed, rays_at_a_time=16)
    for name in ("premultiplied", "accumulation"):
        torch.testing.assert_close(getattr(picture, name), getattr(rays, name), atol=1e-3, rtol=0)
    assert picture.weights is None


def test_rays_of_two_poses_in_one_call_equal_two_calls(avatar):
    origins, directions, jitter = _rays(LENGTH * 0.7)
    a, b = avatar.pose(bend(0.3)), avatar.pose(bend(-0.4))
    with torch.no_grad():
        both = avatar.render(
            origins.repeat(2, 1), directions.repeat(2, 1), jitter.repeat(2), [(slice(0, 41), a), (slice(41, 82), b)]
        )
        first = avatar.render(origins, directions, jitter, [(slice(0, 41), a)])
        second = avatar.render(origins, directions, jitter, [(slice(0, 41), b)])
    torch.testing.assert_close(both.premultiplied, torch.cat([first.premultiplied, second.premultiplied]))
    torch.testing.assert_close(both.depth, torch.cat([first.depth, second.depth]))


@pytest.mark.parametrize("articulation", ["cells", "broyden"])
def test_both_articulations_see_the_same_picture(avatar, mesh, articulation):
    """The paper's search in its own weights: the same capsule to a few per cent."""
    config = dataclasses.replace(SMALL, articulation=articulation, broyden_bones=(0, 1), paper_resolution=(32, 24, 24))
    torch.manual_seed(0)
    other = CanonicalAvatar(config, mesh)
    other.field.load_state_dict(avatar.field.state_dict())
    other.occupancy.load_state_dict(avatar.occupancy.state_dict())
    other.occupancy_changed()
    origins, directions, jitter = _rays(LENGTH * 0.3)
    with torch.no_grad():
        a = avatar.render(origins, directions, jitter, [(slice(0, 41), avatar.pose(bend(0.2)))])
        b = other.render(origins, directions, jitter, [(slice(0, 41), other.pose(bend(0.2)))])
    assert (a.accumulation - b.accumulation).abs().mean() < 0.03


@pytest.mark.slow
def test_the_papers_grid_fills_up_and_regularises(mesh):
    config = dataclasses.replace(
        SMALL,
        articulation="broyden",
        broyden_bones=(0, 1),
        empty_space="union",
        density="relu",
        template_prior=0.0,
        paper_resolution=(16, 12, 12),
    )
    torch.manual_seed(0)
    avatar = CanonicalAvatar(config, mesh)
    posed = avatar.pose(bend(0.0))
    origins, directions, jitter = _rays(LENGTH / 2)
    empty = avatar.render(origins, directions, jitter, [(slice(0, 41), posed)])
    assert float(empty.accumulation.detach().sum()) == 0.0
    with torch.no_grad():
        avatar.field.density_network[-1].weight.mul_(0).add_(1.0)
        avatar.field.table.fill_(1.0)
    loss = avatar.update_union(posed, settling=True, period=20.0)
    loss.backward()
    assert loss > 0 and avatar.field.table.grad.abs().sum() > 0
    with torch.no_grad():
        seen = avatar.render(origins, directions, jitter, [(slice(0, 41), posed)])
        alone = avatar.render(origins, directions, jitter, [(slice(0, 41), avatar.pose_for_rendering(bend(0.0)))])
    assert seen.accumulation.max() > 0.1
    torch.testing.assert_close(seen.accumulation, alone.accumulation, atol=0.05, rtol=0)


def test_rays_that_miss_are_empty_and_finite(avatar):
    origins, directions, jitter = _rays(5.0)
    seen = avatar.render(origins, directions, jitter, [(slice(0, 41), avatar.pose(bend(0.0)))])
    assert float(seen.accumulation.detach().abs().sum()) == 0 and torch.isfinite(seen.depth).all()


def test_the_pose_gradient_points_downhill(avatar):
    """A capsule bent a little too far: the gradient of the silhouette error turns it back."""
    origins = torch.rand(600, 3) * torch.tensor([0.3, 0.0, 0.7]) + torch.tensor([-0.15, -2.0, -0.1])
    origins = torch.stack([torch.full_like(origins[:, 0], -2.0), origins[:, 0] * 2.5, origins[:, 2]], -1)
    directions = torch.tensor([[1.0, 0.0, 0.0]]).repeat(600, 1)
    jitter = torch.full((600,), 0.5)
    with torch.no_grad():
        target = avatar.render(origins, directions, jitter, [(slice(0, 600), avatar.pose(bend(0.3)))]).accumulation
    errors, slopes = [], []
    for angle in (0.24, 0.36):
        transforms = bend(angle).requires_grad_()
        seen = avatar.render(origins, directions, jitter, [(slice(0, 600), avatar.pose(transforms))]).accumulation
        loss = (seen - target).square().mean()
        loss.backward()
        turn = (bend(angle + 1e-3) - bend(angle - 1e-3)) / 2e-3
        slopes.append(float((transforms.grad * turn).sum()))
        errors.append(loss.item())
    assert slopes[0] < 0 < slopes[1]


@pytest.mark.slow
def test_a_checkpoint_gives_the_same_picture(avatar, mesh):
    trained = copy.deepcopy(avatar)
    with torch.no_grad():
        trained.field.table.uniform_(-0.5, 0.5)
    trained.finish(4)
    torch.manual_seed(5)
    other = CanonicalAvatar(SMALL, mesh)
    other.load_state_dict(trained.state_dict())
    origins, directions, jitter = _rays(LENGTH / 2)
    with torch.no_grad():
        a = trained.render(origins, directions, jitter, [(slice(0, 41), trained.pose(bend(0.5)))])
        b = other.render(origins, directions, jitter, [(slice(0, 41), other.pose(bend(0.5)))])
    assert torch.equal(a.premultiplied, b.premultiplied)
