"""Pictures of cubes against closed forms: rays, the plate behind, equal poses, parts that move apart, pieces."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses, identity_poses
from nerfstudio_avatars.unsup_volanim.voxel_render import (
    DISTANCE,
    FOCAL,
    SCENE,
    VoxelPictures,
    VoxelRenderConfig,
    as_images,
    half_extents,
    part_colours,
    render_voxels,
    standard_rays,
)

FAR_HALF_WIDTH = 1.00883
"""Of the scene: 11.5 / focal."""


def turned(frames, parts, **degrees):
    """Poses of `x`, `y`, `z` degrees, the same for all parts."""
    angles = [degrees.get(axis, 0.0) for axis in "xyz"]
    rotation = torch.from_numpy(Rotation.from_euler("xyz", angles, degrees=True).as_matrix()).float()
    return PartPoses(rotation.expand(frames, parts, 3, 3), torch.zeros(frames, parts, 3))


def random_cubes(identities, parts, n=9, seed=0):
    """Part logits, colours, density of both signs."""
    cubes = torch.randn(identities, parts + 4, n, n, n, generator=torch.Generator().manual_seed(seed))
    cubes[:, -1] *= 3
    return cubes


def uniform_cube(density, colour=(0.2, 0.5, 0.8), n=64):
    cube = torch.full((1, 5, n, n, n), float(density))
    cube[:, 1:4] = torch.tensor(colour)[:, None, None, None]
    return cube


def coordinates(n):
    """(x, y, z) of the voxels, half pictures."""
    axis = torch.linspace(-1, 1, n)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return (value * half for value, half in zip((x, y, z), half_extents(1.075), strict=True))


def test_the_camera_is_the_papers():
    assert pytest.approx((FAR_HALF_WIDTH, FAR_HALF_WIDTH, 1.0), abs=1e-5) == SCENE
    edge = math.sqrt(1 + 2 / FOCAL**2)
    assert 9.5 * edge == pytest.approx(9.5728, abs=1e-4) and 11.5 * edge == pytest.approx(11.5882, abs=1e-4)


@pytest.mark.parametrize("size", [1, 5, 64])
def test_rays_start_at_the_camera_and_pass_the_pixels_centres(size):
    """The paper's pixels have their centres on the picture's edge; ours lie inside of it."""
    rays = standard_rays(size)
    assert len(rays) == size**2 and (rays.near, rays.far) == (9.5, 11.5)
    at_camera, at_far = rays.origins, rays.origins + rays.far * rays.directions
    torch.testing.assert_close(at_camera, torch.tensor([0, 0, -DISTANCE]).expand(size**2, 3))
    corner = -FAR_HALF_WIDTH * (1 - 1 / size)
    torch.testing.assert_close(at_far[0], torch.tensor([corner, corner, 1.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(at_far[size - 1], torch.tensor([-corner, corner, 1.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(at_far[-1], torch.tensor([-corner, -corner, 1.0]), atol=1e-4, rtol=0)


def plate_accumulation(samples, length=1.0, n=64, slices=6):
    """1 - transmittance of a density of 100 in the last slices, read between voxels, at the samples' middles."""
    z = -1 + (torch.arange(samples) + 0.5) * 2 / samples
    slice_ = (z / 1.075 + 1) / 2 * (n - 1)
    density = 100 * (slice_ - (n - slices - 1)).clamp(0, 1)
    return -math.expm1(-float(density.double().sum()) * 2 / samples * length)


@pytest.mark.parametrize("samples", [48, 128])
def test_the_plate_alone_shows_its_colour(samples):
    config = VoxelRenderConfig(samples=samples, background="plate")
    rays = standard_rays(5)
    seen = render_voxels(uniform_cube(0), identity_poses(1, 1), rays, config)
    accumulation = [plate_accumulation(samples, float(direction.norm())) for direction in rays.directions]
    assert min(accumulation) > 0.99998
    expected = torch.tensor(accumulation)[:, None] * torch.tensor([0.2, 0.5, 0.8])
    torch.testing.assert_close(seen.rgb[0], expected, atol=1e-6, rtol=0)
    assert (seen.accumulation == 0).all() and (seen.parts == 0).all() and (seen.depth == 0).all()


def test_the_plate_begins_where_the_paper_measured_it():
    """At z = 11.373; before it there is nothing."""
    begins = ((64 - 6 - 1) / 63 * 2 - 1) * 1.075 + DISTANCE
    assert begins == pytest.approx(11.373, abs=0.005)
    rays = replace(standard_rays(3), far=begins)
    seen = render_voxels(uniform_cube(0), identity_poses(1, 1), rays, VoxelRenderConfig(background="plate"))
    assert seen.rgb.abs().max() == 0


def test_without_a_background_nothing_is_black_and_the_slab_is_its_colour():
    for background, colour in (("none", 0.0), ("slab", torch.tensor([0.2, 0.5, 0.8]).expand(9, 3))):
        config = VoxelRenderConfig(background=background)
        seen = render_voxels(uniform_cube(0, n=8), identity_poses(1, 1), standard_rays(3), config)
        torch.testing.assert_close(seen.rgb[0], torch.zeros(9, 3) + colour)


@pytest.mark.parametrize("background", ["plate", "slab"])
def test_the_background_stays_when_the_object_moves(background):
    cubes = random_cubes(1, 1, 16)
    cubes[:, -1] = -1
    config = VoxelRenderConfig(background=background)
    still = render_voxels(cubes, identity_poses(1, 1), standard_rays(6), config)
    moved = render_voxels(cubes, turned(1, 1, y=50), standard_rays(6), config)
    torch.testing.assert_close(still.rgb, moved.rgb)
    assert still.rgb.std() > 0.1


def test_uniform_fog_dims_by_beers_law():
    density, rays = 0.7, standard_rays(4)
    config = VoxelRenderConfig(samples=64, background="none")
    seen = render_voxels(uniform_cube(density, n=4), identity_poses(1, 1), rays, config)
    length = rays.directions.norm(dim=-1)
    expected = 1 - torch.exp(-density * 2 * length)
    torch.testing.assert_close(seen.accumulation[0], expected)
    torch.testing.assert_close(seen.rgb[0], expected[:, None] * torch.tensor([0.2, 0.5, 0.8]))
    torch.testing.assert_close(seen.part_density, torch.full((1, 1), density))
    # Mean of z over the fog, weighted by what is left of the light there: of exp(-k (z + 1)) k from -1 to 1.
    k = density * length
    depth = -torch.exp(-2 * k) - 1 + (1 - torch.exp(-2 * k)) / k
    torch.testing.assert_close(seen.depth[0], depth, atol=1e-3, rtol=0)


def test_a_wall_is_as_deep_as_it_stands():
    n = 65
    _, _, z = coordinates(n)
    cube = torch.zeros(1, 5, n, n, n)
    cube[0, -1] = torch.where(z > 0.25, 1000.0, 0.0)
    seen = render_voxels(cube, identity_poses(1, 1), standard_rays(3), VoxelRenderConfig(256, background="none"))
    torch.testing.assert_close(seen.accumulation, torch.ones(1, 9))
    torch.testing.assert_close(seen.depth, torch.full((1, 9), 0.25), atol=0.04, rtol=0)


def test_segmentations_share_the_accumulation_as_the_logits_say():
    cube = torch.ones(1, 7, 4, 4, 4)
    cube[0, :3] = torch.tensor([0.0, 1.0, 2.0])[:, None, None, None]
    seen = render_voxels(cube, identity_poses(1, 3), standard_rays(2), VoxelRenderConfig(background="none"))
    shares = torch.tensor([0.0, 1.0, 2.0]).softmax(0)
    torch.testing.assert_close(seen.parts, seen.accumulation[..., None] * shares)
    torch.testing.assert_close(seen.part_density, shares[None])


@pytest.mark.parametrize("background", ["plate", "slab", "none"])
def test_ten_parts_with_one_pose_look_like_one_part(background):
    cubes = random_cubes(2, 10)
    config = VoxelRenderConfig(samples=16, background=background)
    poses = turned(2, 10, x=10, y=25, z=-7)
    poses.translation[:] = torch.tensor([0.1, -0.05, 0.2])
    many = render_voxels(cubes, poses, standard_rays(8), config)
    one = render_voxels(
        cubes[:, 9:], PartPoses(poses.rotation[:, :1], poses.translation[:, :1]), standard_rays(8), config
    )
    for name in ("rgb", "accumulation", "depth"):
        torch.testing.assert_close(getattr(many, name), getattr(one, name), atol=1e-5, rtol=0)
    torch.testing.assert_close(many.parts.sum(-1), one.parts[..., 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(many.part_density.sum(-1), one.part_density[:, 0], atol=1e-5, rtol=0)


def two_parts(n, gap):
    """Two halves, left and right of a gap, in different colours; logits of +-20 either side of its middle."""
    x, y, z = coordinates(n)
    cube = torch.zeros(1, 6, n, n, n)
    cube[0, 0], cube[0, 1] = torch.where(x < 0, 20.0, -20.0), torch.where(x > 0, 20.0, -20.0)
    cube[0, 0][x == 0] = cube[0, 1][x == 0] = 0
    cube[0, 2], cube[0, 3], cube[0, 4] = 0.5 + 0.4 * y, 0.3 + 0.5 * x, 0.5 + 0.3 * z
    inside = (x.abs() < 0.8) & (x.abs() > gap) & (y.abs() < 0.5) & (z.abs() < 0.5)
    cube[0, -1] = torch.where(inside, 8.0, 0.0)
    return cube


def halves(cube):
    """The left and the right half as cubes of one part."""
    x, _, _ = coordinates(cube.shape[-1])
    for side in (x < 0, x > 0):
        half = cube[:, 1:].clone()
        half[0, -1] *= side
        yield half


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_parts_a_gap_apart_move_as_rigid_bodies(axis):
    """The right half turned by 20 degrees is the picture of that half alone, turned; the left half stays."""
    cube, rays, config = two_parts(33, 0.3), standard_rays(32), VoxelRenderConfig(samples=32, background="none")
    still, moved = identity_poses(1, 1), turned(1, 1, **{axis: 20})
    poses = PartPoses(torch.cat([still.rotation, moved.rotation], 1), torch.zeros(1, 2, 3))
    both = render_voxels(cube, poses, rays, config)
    left, right = halves(cube)
    left, right = render_voxels(left, still, rays, config), render_voxels(right, moved, rays, config)
    torch.testing.assert_close(both.rgb, left.rgb + right.rgb, atol=2e-5, rtol=0)
    torch.testing.assert_close(both.parts[..., 0], left.accumulation, atol=2e-5, rtol=0)
    torch.testing.assert_close(both.parts[..., 1], right.accumulation, atol=2e-5, rtol=0)
    assert right.accumulation.max() > 0.9 and left.accumulation.max() > 0.9


def test_the_seam_is_only_near_the_split():
    """Turned in the picture plane, two halves without a gap differ from rigid bodies in the wedge that opens alone."""
    size = 32
    cube, rays, config = two_parts(33, 0.0), standard_rays(size), VoxelRenderConfig(samples=32, background="none")
    still, moved = identity_poses(1, 1), turned(1, 1, z=20)
    poses = PartPoses(torch.cat([still.rotation, moved.rotation], 1), torch.zeros(1, 2, 3))
    both = render_voxels(cube, poses, rays, config)
    left, right = halves(cube)
    left, right = render_voxels(left, still, rays, config), render_voxels(right, moved, rays, config)
    error = (both.accumulation - (left.accumulation + right.accumulation)).abs()[0]
    x, y = (rays.directions[:, :2] * DISTANCE).unbind(-1)
    angle = math.radians(20)
    split_still, split_moved = x, math.cos(angle) * x + math.sin(angle) * y
    voxel = 2 * float(half_extents(1.075)[0]) / 32
    near = (split_still.abs() < 2 * voxel) | (split_moved.abs() < 2 * voxel) | (split_still * split_moved < 0)
    assert error[~near].max() < 1e-4 < error[near].max()


def test_a_moved_object_is_where_the_pose_says():
    n, size, shift = 33, 48, torch.tensor([0.3, -0.2, 0.1])
    x, y, z = coordinates(n)
    cube = torch.zeros(1, 5, n, n, n)
    cube[0, -1] = 30 * (0.3 - (x**2 + y**2 + z**2).sqrt())
    poses = PartPoses(turned(1, 1, y=40).rotation, shift.expand(1, 1, 3))
    seen = render_voxels(cube, poses, standard_rays(size), VoxelRenderConfig(background="none"))
    places = standard_rays(size).directions[:, :2] * FOCAL
    weights = seen.accumulation[0] / seen.accumulation.sum()
    middle = (weights[:, None] * places).sum(0)
    torch.testing.assert_close(middle, FOCAL * shift[:2] / (DISTANCE + shift[2]), atol=0.01, rtol=0)


@pytest.mark.parametrize("yaw", [60, 120, 180])
def test_far_turned_heads_stay_finite_and_non_negative(yaw):
    cubes = random_cubes(1, 3).requires_grad_()
    poses = turned(1, 3, y=yaw)
    poses = PartPoses(poses.rotation.clone().requires_grad_(), poses.translation.requires_grad_())
    seen = render_voxels(cubes, poses, standard_rays(8), VoxelRenderConfig(samples=16), jitter=True, density_noise=0.5)
    assert all(value.isfinite().all() for value in vars(seen).values())
    assert seen.accumulation.min() >= 0 and seen.accumulation.max() <= 1 + 1e-6 and seen.parts.min() >= 0
    torch.testing.assert_close(seen.parts.sum(-1), seen.accumulation)
    sum(value.sum() for value in vars(seen).values()).backward()
    assert all(value.grad.isfinite().all() for value in (cubes, poses.rotation, poses.translation))


def test_an_object_out_of_sight_leaves_the_background():
    poses = PartPoses(torch.eye(3).expand(1, 2, 3, 3), torch.full((1, 2, 3), 100.0))
    seen = render_voxels(random_cubes(1, 2), poses, standard_rays(4), VoxelRenderConfig(samples=16))
    assert (seen.accumulation == 0).all() and seen.rgb.isfinite().all()


@pytest.mark.parametrize("background", ["plate", "slab"])
@pytest.mark.parametrize("chunk", [1, 5 * 12 * 3 * 2])
def test_pieces_give_the_same_pictures_and_gradients(chunk, background):
    """Also where the last piece is shorter than the others."""
    whole = VoxelRenderConfig(samples=12, background=background)
    draw = torch.Generator().manual_seed(1)
    turn, pull = torch.randn(2, 3, 3, generator=draw), torch.randn(2, 36, 3, generator=draw)
    results = []
    for config in (whole, replace(whole, chunk=chunk)):
        cubes = random_cubes(1, 3).requires_grad_()
        rotation = turned(2, 3, y=30).rotation.clone().requires_grad_()
        translation = (0.1 * turn).clone().requires_grad_()
        seen = render_voxels(cubes, PartPoses(rotation, translation), standard_rays(6), config)
        loss = (seen.rgb * pull).sum() + (seen.parts * pull).sum() + seen.depth.sum() + seen.part_density.sum()
        gradients = torch.autograd.grad(loss + seen.accumulation.square().sum(), (cubes, rotation, translation))
        results.append((*vars(seen).values(), *gradients))
    for one, pieces in zip(*results, strict=True):
        torch.testing.assert_close(pieces, one.expand_as(pieces), atol=2e-5, rtol=1e-4)


def test_pieces_draw_the_same_samples_again_for_their_gradient():
    """One ray a piece: the gradient of the sum is that of the pictures that were shown, jitter and noise included."""
    config = VoxelRenderConfig(samples=8, background="none", chunk=1)
    cubes = random_cubes(1, 1, 5).double().requires_grad_()
    poses = PartPoses(torch.eye(3).double().expand(1, 1, 3, 3), torch.zeros(1, 1, 3).double())
    rays = standard_rays(2)
    rays = replace(rays, origins=rays.origins.double(), directions=rays.directions.double())

    def total(values):
        torch.manual_seed(4)
        return render_voxels(values, poses, rays, config, jitter=True, density_noise=0.5).rgb.sum()

    direction = torch.randn(cubes.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(total(cubes), cubes)
    with torch.no_grad():
        expected = (total(cubes + 1e-6 * direction) - total(cubes - 1e-6 * direction)) / 2e-6
    torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-4, atol=1e-6)


def test_frames_of_identities_follow_each_other():
    cubes, config = random_cubes(2, 2), VoxelRenderConfig(samples=8)
    rotation = torch.from_numpy(Rotation.random(8, random_state=0).as_matrix()).float().reshape(4, 2, 3, 3)
    poses = PartPoses(rotation, torch.randn(4, 2, 3) * 0.1)
    together = render_voxels(cubes, poses, standard_rays(5), config)
    for frame in range(4):
        alone = render_voxels(cubes[frame // 2][None], poses[frame : frame + 1], standard_rays(5), config)
        for name in ("rgb", "accumulation", "depth", "parts", "part_density"):
            torch.testing.assert_close(getattr(together, name)[frame], getattr(alone, name)[0], atol=1e-5, rtol=1e-4)


def test_some_rays_show_what_they_show_among_all():
    cubes, rays = random_cubes(1, 2), standard_rays(6)
    chosen = torch.tensor([3, 17, 30])
    some, every = (render_voxels(cubes, turned(1, 2, y=20), r, VoxelRenderConfig(16)) for r in (rays[chosen], rays))
    torch.testing.assert_close(some.rgb, every.rgb[:, chosen], atol=1e-5, rtol=0)


def test_jitter_moves_samples_within_their_share_of_the_ray():
    """In even fog the accumulation stays as it was, and the depth moves by half a share at most."""
    torch.manual_seed(0)
    config = VoxelRenderConfig(samples=10, background="none")
    seen = render_voxels(uniform_cube(0.5, n=4), identity_poses(1, 1), standard_rays(4), config, jitter=True)
    still = render_voxels(uniform_cube(0.5, n=4), identity_poses(1, 1), standard_rays(4), config)
    torch.testing.assert_close(seen.accumulation, still.accumulation)
    assert (seen.depth - still.depth).abs().max() > 1e-3
    assert (seen.depth - still.depth).abs().max() < 2 / 10 / 2


def test_noise_on_the_density_is_not_in_the_part_density():
    torch.manual_seed(0)
    config = VoxelRenderConfig(samples=10, background="none")
    noisy = render_voxels(uniform_cube(0.5, n=4), identity_poses(1, 1), standard_rays(4), config, density_noise=1.0)
    assert noisy.accumulation.std() > 0.01
    torch.testing.assert_close(noisy.part_density, torch.full((1, 1), 0.5))


def piece(rays, accumulation, depth):
    shares = torch.tensor([accumulation, 0.0]).expand(1, rays, 2)
    colour, normals = torch.full((1, rays, 3), 1.5), torch.tensor([0.0, 0.0, -2.0]).expand(1, rays, 3)
    return VoxelPictures(
        colour,
        torch.full((1, rays), accumulation),
        torch.full((1, rays), accumulation * depth),
        shares,
        normals,
        torch.zeros(1, 2),
    )


def test_pieces_become_one_image_with_a_depth_where_it_is_solid():
    images = as_images([piece(3, 0.8, -0.25), piece(3, 0.1, 9.0)], middle=10.0, height=2, width=3)
    assert {name: tuple(image.shape) for name, image in images.items()} == {
        "rgb": (2, 3, 3), "accumulation": (2, 3, 1), "depth": (2, 3, 1), "normal": (2, 3, 3), "parts": (2, 3, 3),
        "part_shares": (2, 3, 2),
    }  # fmt: skip
    torch.testing.assert_close(images["depth"][:, 0, 0], torch.tensor([9.75, 11.0]))
    torch.testing.assert_close(images["normal"][:, 0], torch.tensor([[0.5, 0.5, 0.0], [1.0, 1.0, 1.0]]))
    torch.testing.assert_close(images["parts"][0, 0], 0.8 * part_colours(2)[0])
    assert images["rgb"].max() == 1


def test_every_part_has_a_colour_of_its_own():
    colours = part_colours(6)
    assert ((colours[:, None] - colours).abs().sum(-1) + torch.eye(6) > 0.3).all()
    assert part_colours(1).shape == (1, 3)
