"""Volume rendering against closed forms and nerfacc."""

import nerfacc
import torch

from nerfstudio_avatars.instant_avatar.rendering.compositing import cut_out, over, rendering_weights


def test_a_homogeneous_slab_follows_beer_and_lambert():
    density, step, n = 3.0, 0.01, 200
    weights = rendering_weights(torch.full((n,), density), step, torch.zeros(n, dtype=torch.long))
    torch.testing.assert_close(weights.sum(), torch.tensor(1 - torch.e ** (-density * step * n)))
    torch.testing.assert_close(
        weights[1:] / weights[:-1], torch.full((n - 1,), torch.e ** (-density * step)), rtol=1e-3, atol=0
    )


def test_packed_weights_equal_nerfaccs_dense_ones():
    torch.manual_seed(0)
    rays, samples, step = 7, 13, 0.02
    density = torch.rand(rays, samples) * 80
    starts = torch.arange(samples).float().expand(rays, -1) * step
    dense = nerfacc.render_weight_from_density(starts, starts + step, density)[0]
    keep = torch.rand(rays, samples) > 0.3
    dense_kept = nerfacc.render_weight_from_density(starts, starts + step, torch.where(keep, density, 0.0))[0]
    ray = torch.arange(rays)[:, None].expand(-1, samples)
    torch.testing.assert_close(rendering_weights(density.flatten(), step, ray.flatten()), dense.flatten())
    torch.testing.assert_close(rendering_weights(density[keep], step, ray[keep]), dense_kept[keep])


def test_gradients_match_finite_differences():
    ray = torch.tensor([0, 0, 0, 2, 2, 5])
    density = torch.rand(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: rendering_weights(d, 0.3, ray), (density,))


def test_no_samples_no_weights():
    assert rendering_weights(torch.zeros(0), 0.01, torch.zeros(0, dtype=torch.long)).shape == (0,)


def test_over_adds_what_the_ray_lets_through():
    colour = over(torch.tensor([[0.2, 0.0, 0.0]]), torch.tensor([[0.25]]), torch.ones(3))
    torch.testing.assert_close(colour, torch.tensor([[0.95, 0.75, 0.75]]))


def test_what_users_see_ends_where_the_person_ends():
    accumulation = torch.tensor([[[1.0], [0.75], [0.25], [0.0]]])
    parts = {name: torch.full((1, 4, 3), 0.8) for name in ("rgb", "normal", "canonical", "premultiplied")}
    seen = cut_out({**parts, "accumulation": accumulation, "depth": torch.full((1, 4, 1), 3.0)})
    assert set(seen) == {"rgb", "depth", "normal", "canonical", "accumulation"}
    assert seen["depth"].flatten().tolist() == [3.0, 3.0, 0.0, 0.0]
    torch.testing.assert_close(seen["canonical"][0, :, 0], 0.8 * accumulation[0, :, 0])
