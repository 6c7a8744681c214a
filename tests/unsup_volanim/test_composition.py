"""Composing parts: closed forms for the torch loop, and its fused twin against it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.unsup_volanim.pose_trials import render_trials
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses, identity_poses
from nerfstudio_avatars.unsup_volanim.voxel_render import VoxelRenderConfig, render_voxels, standard_rays

COMPOSE = VoxelRenderConfig(samples=14, background="slab", skinning="compose")


@pytest.fixture
def torch_only(monkeypatch):
    """Draws with the plain loop."""
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")


def cubes_of(identities, parts, n=9, seed=0, dtype=torch.float32):
    """Part logits, colours, density of both signs, solid in places."""
    cubes = torch.randn(identities, parts + 4, n, n, n, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    cubes[:, -1] *= 4
    return cubes


def poses_of(frames, parts, seed=0, dtype=torch.float32):
    """Turns of up to half a radian, and shifts."""
    draw = torch.Generator().manual_seed(seed)
    turns = Rotation.from_rotvec(0.4 * torch.randn(frames * parts, 3, generator=draw).numpy()).as_matrix()
    shifts = 0.15 * torch.randn(frames, parts, 3, generator=draw)
    return PartPoses(torch.from_numpy(turns).reshape(frames, parts, 3, 3).to(dtype), shifts.to(dtype))


def ball(n, middle, radius):
    """Density before activation."""
    axis = torch.linspace(-1, 1, n)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    distance = ((x - middle[0]).square() + (y - middle[1]).square() + (z - middle[2]).square()).sqrt()
    return 60 * (radius - distance)


@pytest.mark.usefixtures("torch_only")
@pytest.mark.parametrize("background", ["slab", "plate", "none"])
def test_parts_that_move_alike_make_the_picture_of_one(background):
    cubes, config = cubes_of(2, 3), replace(COMPOSE, background=background)
    one = poses_of(4, 1)
    alike = PartPoses(one.rotation.expand(4, 3, 3, 3), one.translation.expand(4, 3, 3))
    many = render_voxels(cubes, alike, standard_rays(8), config)
    single = render_voxels(cubes[:, 2:], one, standard_rays(8), replace(config, skinning="blend"))
    for name in ("rgb", "accumulation", "depth"):
        torch.testing.assert_close(getattr(many, name), getattr(single, name), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(many.parts.sum(-1), single.accumulation, atol=2e-5, rtol=1e-4)


@pytest.mark.usefixtures("torch_only")
def test_a_part_that_turns_far_away_stays_whole():
    """A ball cut in two halves, one of which is shifted by a quarter of the picture: each shows half a ball, where
    blending smears what lies between."""
    n = 33
    cubes = torch.zeros(1, 6, n, n, n)
    cubes[:, 0, :, :, n // 2 :], cubes[:, 1, :, :, : n // 2] = 30, 30
    cubes[:, 2:5], cubes[:, 5] = 0.5, ball(n, (0.0, 0.0, 0.0), 0.4)
    poses = PartPoses(torch.eye(3).expand(1, 2, 3, 3), torch.tensor([[[0.25, 0.0, 0.0], [-0.25, 0.0, 0.0]]]))
    rays, config = standard_rays(48), replace(COMPOSE, samples=64, background="none")
    still = render_voxels(cubes, identity_poses(1, 2), rays, config).parts
    apart = render_voxels(cubes, poses, rays, config).parts
    torch.testing.assert_close(apart.sum(1), still.sum(1), rtol=0.1, atol=0)
    middle = apart.unflatten(1, (48, 48))[0, :, 22:26].sum()
    assert middle < 0.01 * apart.sum(), "the gap between the halves is empty"


@pytest.mark.usefixtures("torch_only")
def test_the_specification_has_the_gradient_of_finite_differences():
    rays = standard_rays(5)
    rays = replace(rays, origins=rays.origins.double(), directions=rays.directions.double())
    cubes = cubes_of(1, 3, n=7, dtype=torch.float64).requires_grad_()
    poses = poses_of(2, 3, dtype=torch.float64)
    rotation, translation = poses.rotation.requires_grad_(), poses.translation.requires_grad_()
    pull = torch.randn(2, 25, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def total(*inputs):
        seen = render_voxels(inputs[0], PartPoses(*inputs[1:]), rays, COMPOSE)
        return (seen.rgb * pull).sum() + (seen.parts * pull).sum() + seen.depth.sum() + seen.accumulation.square().sum()

    inputs = (cubes, rotation, translation)
    gradients = torch.autograd.grad(total(*inputs), inputs)
    draw = torch.Generator().manual_seed(2)
    for place, gradient in enumerate(gradients):
        direction = torch.randn(gradient.shape, generator=draw, dtype=torch.float64)
        further, back = list(inputs), list(inputs)
        further[place], back[place] = (inputs[place] + step * direction for step in (1e-7, -1e-7))
        with torch.no_grad():
            expected = (total(*further) - total(*back)) / 2e-7
        torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-4, atol=1e-6)


def drawn(inputs, config, noise, visible):
    """Pictures, and gradients of cubes, rotations and translations."""
    cubes, rotation, translation = (one.clone().requires_grad_() for one in inputs)
    torch.manual_seed(3)
    seen = render_voxels(
        cubes, PartPoses(rotation, translation), standard_rays(9), config,
        jitter=True, density_noise=noise, normals=True, visible=visible,
    )  # fmt: skip
    pulls = [
        torch.randn(one.shape, generator=torch.Generator().manual_seed(5)) for one in list(vars(seen).values())[:4]
    ]
    loss = sum((one * pull).sum() for one, pull in zip(list(vars(seen).values())[:4], pulls, strict=True))
    return seen, torch.autograd.grad(loss, (cubes, rotation, translation))


@pytest.mark.parametrize(("parts", "background"), [(1, "none"), (4, "slab")])
@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("hidden", [False, True])
def test_the_twin_draws_what_the_specification_does(parts, background, noise, hidden, monkeypatch):
    config = replace(COMPOSE, background=background)
    poses = poses_of(4, parts)
    inputs = (cubes_of(2, parts), poses.rotation, poses.translation)
    visible = torch.linspace(1, 0, parts) if hidden else None
    twin, twins = drawn(inputs, config, noise, visible)
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
    plain, gradients = drawn(inputs, config, noise, visible)
    assert plain.accumulation.std() > 0.1
    for name, picture in vars(plain).items():
        torch.testing.assert_close(
            getattr(twin, name), picture, atol=1e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
        )
    for one, other in zip(twins, gradients, strict=True):
        cosine = torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0)
        assert cosine > 0.9999, cosine
        torch.testing.assert_close(one.norm(), other.norm(), rtol=1e-3, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("parts", [1, 4])
def test_trials_of_one_part_are_pictures_with_that_part_moved(parts, backend, monkeypatch):
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", backend)
    cubes, poses, rays = cubes_of(2, parts), poses_of(4, parts), standard_rays(7)
    tried, part = poses_of(4, 3, seed=9), torch.arange(4) % parts
    rgb, accumulation = render_trials(cubes, poses, part, tried, rays, COMPOSE)
    for trial in range(3):
        rotation, translation = poses.rotation.clone(), poses.translation.clone()
        rotation[torch.arange(4), part] = tried.rotation[:, trial]
        translation[torch.arange(4), part] = tried.translation[:, trial]
        seen = render_voxels(cubes, PartPoses(rotation, translation), rays, COMPOSE)
        torch.testing.assert_close(rgb[:, trial], seen.rgb, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(accumulation[:, trial], seen.accumulation, atol=1e-4, rtol=1e-3)
