"""From rays to colours in one pass: the numba twin against the plain march, field and compositing."""

import copy
import dataclasses

import pytest
import torch
from bent_capsule import LENGTH, bend, bin_cells, capsule_mesh

from nerfstudio_avatars.instant_avatar.articulation.posed_cells import PosedCells
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.field.hash_field import HashField, HashFieldConfig
from nerfstudio_avatars.instant_avatar.rendering.density_rule import FAINT, OPAQUE, DensityRule
from nerfstudio_avatars.instant_avatar.rendering.occupancy import CanonicalOccupancy
from nerfstudio_avatars.instant_avatar.rendering.picture import _render_torch, densest_of_each, render
from nerfstudio_avatars.instant_avatar.rendering.samples import MarchSettings, PosedSpace

pytest.importorskip("numba")

SETTINGS = MarchSettings(step=0.01, max_samples=128)
FIELDS = {
    "even": HashFieldConfig(levels=6, log2_table_size=10, width=32, mixed_precision=False),
    "odd": HashFieldConfig(levels=3, log2_table_size=9, width=18, geometry_features=6, mixed_precision=False),
}


@pytest.fixture(scope="module")
def volume():
    return SkinningVolume(capsule_mesh(), spacing=0.03, band=0.05)


def field(kind: str = "even", amplitude: float = 8.0) -> HashField:
    torch.manual_seed(1)
    built = HashField(FIELDS[kind], torch.tensor([0.0, 0.0, LENGTH / 2]), 0.45)
    with torch.no_grad():
        built.table.uniform_(-amplitude, amplitude)
    return built


def scene(volume, angle, built, rule, rays=700):
    """Arguments of both twins: rays from the front through and past the bent capsule."""
    occupancy = CanonicalOccupancy(volume)
    with torch.no_grad():
        occupancy.recompute(lambda x: rule(built.density(x)[0], x, volume))
    posed = bin_cells(volume.pose_nodes(bend(angle)), volume.cells, occupancy.occupied_cells(volume))
    generator = torch.Generator().manual_seed(2)
    origins = torch.tensor([[0.3, -2.0, LENGTH / 2]]).repeat(rays, 1)
    spread = torch.tensor([0.2, 0.1, 0.4])
    targets = torch.randn(rays, 3, generator=generator) * spread + torch.tensor([0.0, 0.0, LENGTH / 2])
    directions = torch.nn.functional.normalize(targets - origins, dim=-1)
    return [origins, directions, PosedSpace(posed, volume, occupancy.cached(), SETTINGS), built, rule]


def compare(arguments, atol=OPAQUE + FAINT, seen=0.1):
    fast = render(*arguments)
    with torch.no_grad():
        slow = _render_torch(*arguments)
    assert seen < (slow[:, 3] > 0.05).float().mean() < 0.999
    torch.testing.assert_close(fast[:, :4], slow[:, :4], atol=atol, rtol=0)
    # Distances of a few metres, places of the unit cube: what lies behind an opaque surface weighs as little.
    torch.testing.assert_close(fast[:, 4:], slow[:, 4:], atol=4 * atol, rtol=0)
    return slow


@pytest.mark.parametrize("angle", [0.0, 0.6, 2.4])
@pytest.mark.parametrize("kind", ["even", "odd"])
@pytest.mark.parametrize("rule", [DensityRule("exp", 0.01), DensityRule("exp"), DensityRule("relu")])
def test_numba_twin_equals_the_specification(volume, angle, kind, rule):
    built = field(kind)
    if rule.kind == "relu":
        with torch.no_grad():
            built.density_network[-1].weight.mul_(20)
    assert compare(scene(volume, angle, built, rule))[:, :3].std() > 0.02


def test_folded_bodies_have_samples_with_several_roots(volume):
    from nerfstudio_avatars.instant_avatar.rendering.ray_march import march

    arguments = scene(volume, 2.4, field(), DensityRule("exp", 0.01))
    samples = march(*arguments[:2], torch.full((700,), 0.5), arguments[2])
    assert len(samples.roots.point) > len(samples.ray) > 0


def test_the_densest_root_is_seen_and_of_equals_the_first():
    density = torch.tensor([1.0, 3.0, 2.0, 0.0, 0.0, 5.0, torch.nan, 4.0, torch.nan])
    point = torch.tensor([0, 0, 0, 1, 1, 2, 3, 4, 4])
    found = densest_of_each(density, point, 5)
    assert found[:4].tolist() == [1, 3, 5, 6] and found[4] in (7, 8)


def test_closed_levels_stay_closed(volume):
    built = field()
    built.open_levels(2.5)
    compare(scene(volume, 0.6, built, DensityRule("exp", 0.01)))


def test_ends_of_rays_are_kept(volume):
    arguments = scene(volume, 0.6, field(), DensityRule("exp", 0.02))
    for settings in (dataclasses.replace(SETTINGS, max_samples=5), dataclasses.replace(SETTINGS, cut=0.7)):
        compare([*arguments[:2], dataclasses.replace(arguments[2], settings=settings), *arguments[3:]], seen=0.01)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_rays_that_miss_cost_nothing_and_see_nothing(volume, monkeypatch, backend):
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", backend)
    arguments = scene(volume, 0.6, field(), DensityRule("exp", 0.01))
    assert float(render(-arguments[0], arguments[1], *arguments[2:]).abs().sum()) == 0
    assert render(arguments[0][:0], arguments[1][:0], *arguments[2:]).shape == (0, 8)


def test_the_specification_runs_in_chunks_where_it_is_asked_for(volume, monkeypatch):
    arguments = scene(volume, 0.6, field(), DensityRule("exp", 0.01), rays=60)
    fast = render(*arguments)
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
    torch.testing.assert_close(render(*arguments, rays_at_a_time=17)[:, :4], fast[:, :4], atol=1e-3, rtol=0)


def on(device, value):
    """An argument of `render`, moved to a device."""
    if isinstance(value, PosedSpace | PosedCells):
        return dataclasses.replace(value, **{name: on(device, part) for name, part in vars(value).items()})
    return copy.deepcopy(value).to(device) if isinstance(value, torch.Tensor | torch.nn.Module) else value


def same_picture(arguments, implementation="auto", device="cpu"):
    """The field's weights in a field of another backend: what it shows."""
    built = arguments[3]
    other = HashField(dataclasses.replace(built.config, implementation=implementation), built.centre, 0.45)
    other.load_state_dict(built.state_dict())
    return render(*(on(device, argument) for argument in [*arguments[:3], other, arguments[4]])).cpu()


@pytest.mark.slow
def test_weights_trained_with_one_backend_show_the_same_picture_with_all(volume, monkeypatch, tinycudann, request):
    arguments = scene(volume, 0.6, field(amplitude=2.0), DensityRule("exp", 0.01), rays=40)
    pictures = {"numba": same_picture(arguments)}
    pictures["tiny-cuda-nn"] = same_picture(arguments, "tcnn")
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
    pictures["torch"] = truth = same_picture(arguments)
    assert (truth[:, 3] > 0.05).sum() > 5
    for name, picture in pictures.items():
        torch.testing.assert_close(picture[:, :4], truth[:, :4], atol=OPAQUE + FAINT, rtol=0, msg=name)
    pictures["triton"] = same_picture(arguments, device=request.getfixturevalue("triton_device"))
    torch.testing.assert_close(pictures["triton"], truth, atol=OPAQUE, rtol=0)
