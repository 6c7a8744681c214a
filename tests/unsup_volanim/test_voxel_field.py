"""Codes and cubes: whitening by its definition, the decoder against the paper's literal order of operations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from nerfstudio_avatars.unsup_volanim.voxel_field import (
    IdentityEmbedding,
    VoxelGenerator,
    VoxelGeneratorConfig,
    ellipsoid_prior,
)

TINY = {"code_size": 5, "widths": (12, 8, 4)}


def millions(module):
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def covariance(codes):
    return torch.cov(codes.mT)


def test_whitened_codes_have_no_mean_and_unit_covariance():
    torch.manual_seed(0)
    embedding = IdentityEmbedding(200, 16)
    with torch.no_grad():
        embedding.table.mul_(torch.rand(16) + 0.5).add_(3)
        embedding.table[:, 1] += embedding.table[:, 0]
        codes = embedding(torch.arange(200))
    torch.testing.assert_close(codes.mean(0), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(covariance(codes), torch.eye(16), atol=1e-2, rtol=0)


def test_whitening_is_its_definition():
    embedding = IdentityEmbedding(9, 4, shrink=0.1).double()
    table = embedding.table.detach()
    shrunk = 0.9 * covariance(table) + 0.1 * torch.eye(4).double()
    expected = (torch.linalg.inv(torch.linalg.cholesky(shrunk)) @ (table - table.mean(0)).mT).mT
    rows = torch.tensor([[3, 0], [8, 3]])
    torch.testing.assert_close(embedding(rows), expected[rows])


@pytest.mark.parametrize("identities", [1, 2, 12])
def test_fewer_identities_than_numbers_in_a_code_work(identities):
    embedding = IdentityEmbedding(identities, 16)
    codes = embedding(torch.arange(identities))
    assert codes.isfinite().all() and codes.abs().max() < 50
    codes.square().sum().backward()
    assert embedding.table.grad.isfinite().all()
    if identities == 12:
        spread = torch.linalg.eigvalsh(covariance(codes.detach()))
        assert spread[-1] < 1.01 and spread[-11] > 0.9, "eleven directions are told apart"


def test_one_code_moves_every_row():
    embedding = IdentityEmbedding(20, 4)
    embedding(torch.tensor([3])).sum().backward()
    assert (embedding.table.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize("parts", [1, 10])
def test_full_size_has_the_papers_parameters_and_shape(parts):
    """9.36 M with one part, 9.37 M with ten; nothing is computed on the meta device."""
    with torch.device("meta"):
        generator = VoxelGenerator(VoxelGeneratorConfig(), parts)
        cube = generator(torch.zeros(2, 64))
    assert millions(generator) == pytest.approx(9.36 if parts == 1 else 9.37, abs=0.005)
    assert cube.shape == (2, parts + 4, 64, 64, 64) and generator.config.resolution == 64


def literal(generator, codes):
    """UVA, section 3.2, in its own order: voxels are repeated before anything else."""
    x = generator.entry(codes).unflatten(1, (-1, 4, 4, 4))
    for (block,) in generator.levels:
        u = F.interpolate(x, scale_factor=2, mode="nearest")
        main = block.conv1(block.norm1(F.relu(u)))
        main = block.conv2(block.norm2(F.relu(main)))
        x = block.skip(u) + main
    norm, convolution = generator.heads[-1]
    return convolution(norm(x))


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("training", [True, False])
def test_repeating_voxels_later_gives_the_papers_numbers(norm, training):
    torch.manual_seed(0)
    generator = VoxelGenerator(VoxelGeneratorConfig(norm=norm, **TINY), 2).double()
    codes = torch.randn(3, 5, dtype=torch.float64)
    for _ in range(3):
        generator(codes)  # warms the running statistics up
    generator.train(training)
    torch.testing.assert_close(generator(codes), literal(generator, codes), atol=1e-10, rtol=1e-10)
    gradients = [
        torch.autograd.grad(cube.square().sum(), generator.entry.weight)[0]
        for cube in (generator(codes), literal(generator, codes))
    ]
    torch.testing.assert_close(*gradients, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize(("widths", "size"), [((8, 4), 8), ((8, 8, 4), 16), ((8, 8, 4, 4), 32)])
def test_each_width_doubles_the_resolution(widths, size):
    generator = VoxelGenerator(VoxelGeneratorConfig(code_size=3, widths=widths), 1)
    assert generator(torch.randn(2, 3)).shape == (2, 5, size, size, size) and generator.config.resolution == size


def test_doubled_cubes_are_interpolated_and_cost_no_weights():
    torch.manual_seed(0)
    config = VoxelGeneratorConfig(code_size=3, widths=(8, 4), norm="group", coarse_outputs=True)
    coarse = VoxelGenerator(config, 1)
    fine = VoxelGenerator(replace(config, doublings=2), 1)
    fine.load_state_dict(coarse.state_dict())
    codes = torch.randn(2, 3)
    assert fine(codes).shape == (2, 5, 32, 32, 32) and fine.config.resolution == 32
    ends = torch.tensor([0, -1])
    at_ends = (cube[:, :, ends, ends, ends] for cube in (fine(codes), coarse(codes)))
    torch.testing.assert_close(*at_ends)
    assert fine(codes).amax() <= coarse(codes).amax() + 1e-5
    torch.testing.assert_close(fine(codes, 1), coarse(codes))  # A number of levels asks for those alone.


def test_the_first_colour_is_grey_and_the_density_is_scaled():
    config = VoxelGeneratorConfig(first_colour=0.25, **TINY)
    torch.manual_seed(0)
    generator = VoxelGenerator(config, 2).eval()
    assert (generator.heads[-1][1].bias[2:5] == 0.25).all()
    torch.manual_seed(0)
    config.density_scale = 10.0
    codes = torch.randn(2, 5)
    plain = generator(codes)
    config.density_scale = 1.0
    torch.testing.assert_close(plain[:, -1], 10 * generator(codes)[:, -1])
    torch.testing.assert_close(plain[:, :-1], generator(codes)[:, :-1])


def test_a_lone_code_gives_the_cube_it_gives_in_company():
    """It is computed twice on a CPU; neither the cube nor any gradient may show it."""
    torch.manual_seed(0)
    generator = VoxelGenerator(VoxelGeneratorConfig(norm="group", **TINY), 1).double()
    codes = torch.randn(3, 5, dtype=torch.float64)
    alone, together = codes[:1].clone().requires_grad_(), codes.clone().requires_grad_()
    weights = list(generator.parameters())
    cube, cubes = generator(alone), generator(together)
    torch.testing.assert_close(cube, cubes[:1])
    gradients = torch.autograd.grad(cube.square().sum(), [alone, *weights])
    expected = torch.autograd.grad(cubes[:1].square().sum(), [together, *weights])
    torch.testing.assert_close(gradients[0], expected[0][:1])
    for got, wanted in zip(gradients[1:], expected[1:], strict=True):
        torch.testing.assert_close(got, wanted)


def test_the_large_model_has_more_blocks_and_attention():
    plain = VoxelGeneratorConfig(**TINY)
    large = VoxelGeneratorConfig(same_blocks=2, attention_levels=2, **TINY)
    generators = [VoxelGenerator(config, 2) for config in (plain, large)]
    assert millions(generators[1]) > millions(generators[0])
    cube = generators[1](torch.randn(2, 5))
    assert cube.shape == (2, 6, 16, 16, 16)
    cube.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in generators[1].parameters())


def test_attention_is_a_softmax_over_all_voxels():
    generator = VoxelGenerator(VoxelGeneratorConfig(attention_levels=1, **TINY), 1).eval()
    attention = generator.levels[0][-1]
    x = torch.randn(2, 8, 3, 3, 3)
    query, key, value = attention.query_key_value(attention.norm(x)).flatten(2).chunk(3, 1)
    weights = (torch.einsum("bci,bcj->bij", query, key) / 8**0.5).softmax(-1)
    mixed = torch.einsum("bij,bcj->bci", weights, value).reshape(x.shape)
    torch.testing.assert_close(attention(x), x + attention.out(mixed), atol=1e-5, rtol=1e-4)


def test_finer_outputs_add_to_coarser_ones():
    torch.manual_seed(0)
    generator = VoxelGenerator(VoxelGeneratorConfig(coarse_outputs=True, density_scale=3.0, **TINY), 2)
    codes = torch.randn(2, 5)
    coarse, fine = generator(codes, levels=1), generator(codes)
    assert coarse.shape[-1] == 8 and fine.shape[-1] == 16
    doubled = F.interpolate(coarse, scale_factor=2, mode="trilinear", align_corners=True)
    torch.testing.assert_close(fine, doubled)  # the finer outputs begin with nothing
    with torch.no_grad():
        generator.heads[1][1].bias[:] = 1.0
    expected = doubled + torch.tensor([1, 1, 1, 1, 1, 3.0])[:, None, None, None]
    torch.testing.assert_close(generator(codes), expected)


def test_the_prior_fills_an_ellipsoid():
    radii = torch.tensor([0.5, 0.75, 0.25])
    prior = ellipsoid_prior(17, radii, slope=4.0)
    assert prior.shape == (17, 17, 17)
    assert prior[8, 8, 8].item() == pytest.approx(4.0 * 0.5)
    on_surface = (prior[8, 8, 4], prior[8, 2, 8], prior[6, 8, 8])
    assert [float(value) for value in on_surface] == pytest.approx([0, 0, 0], abs=1e-6)
    axis = torch.linspace(-1, 1, 17)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    inside = (x / 0.5) ** 2 + (y / 0.75) ** 2 + (z / 0.25) ** 2 < 1 - 1e-6
    assert ((prior > 1e-6) == inside).all()
