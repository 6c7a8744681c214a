"""The fused field: Triton's kernel against the plain networks (without a GPU in its interpreter); compiled for GPUs."""

import sys
from dataclasses import replace

import pytest
import torch

from nerfstudio_avatars.instant_avatar.field.hash_field import HashField, HashFieldConfig
from nerfstudio_avatars.methods import instant_avatar, instant_avatar_cpu


def preset(method) -> HashFieldConfig:
    """A method's field with a smaller table."""
    return replace(method.config.pipeline.model.avatar.field, log2_table_size=9)


FIELDS = {
    "instant-avatar": preset(instant_avatar),
    "instant-avatar-cpu": preset(instant_avatar_cpu),
    "odd": HashFieldConfig(levels=3, log2_table_size=9, width=18, geometry_features=6),
}


def fields(config: HashFieldConfig, device: str) -> tuple[HashField, HashField]:
    """The same field twice: fused, and plain in float32."""
    torch.manual_seed(0)
    built = []
    for choice in (config, replace(config, implementation="torch", mixed_precision=False)):
        built.append(HashField(choice, torch.tensor([0.1, 0.0, -0.2]), 0.8).to(device))
    with torch.no_grad():
        built[0].table.uniform_(-2, 2)
    built[1].load_state_dict(built[0].state_dict())
    return built[0], built[1]


def compare(fused: HashField, plain: HashField, x: torch.Tensor) -> None:
    raw, geometry = plain.density(x)
    truth = [raw, plain.colour(geometry), raw]
    for fast, slow in zip([*fused.infer(x), fused.infer_density(x)], truth, strict=True):
        assert not fast.requires_grad
        # Points that the fine levels see differently by a float's last bit.
        torch.testing.assert_close(fast, slow.detach(), atol=1e-3, rtol=0, equal_nan=True)


@pytest.mark.parametrize("points", [0, 1, 131])
@pytest.mark.parametrize("kind", FIELDS)
def test_fused_field_equals_the_specification(triton_device, kind, points):
    fused, plain = fields(FIELDS[kind], triton_device)
    compare(fused, plain, torch.rand(points, 3, device=triton_device) * 2 - 1)


def test_points_outside_are_clamped_and_what_is_no_number_stays_none(triton_device):
    fused, plain = fields(FIELDS["odd"], triton_device)
    x = torch.tensor([[5.0, 0.3, -9.0], [0.9, 0.8, 0.6], [-0.7, -0.8, -1.0], [torch.nan] * 3], device=triton_device)
    compare(fused, plain, x)
    assert fused.infer(x)[0][3].isnan() and fused.infer(x)[1][3].isnan().all()


def test_closed_levels_stay_closed(triton_device):
    fused, plain = fields(FIELDS["instant-avatar-cpu"], triton_device)
    x = torch.rand(20, 3, device=triton_device)
    fully_open = fused.infer_density(x)
    for field in (fused, plain):
        field.open_levels(2.5)
    compare(fused, plain, x)
    assert not torch.allclose(fused.infer_density(x), fully_open, atol=1e-2)


def test_fields_that_the_kernel_does_not_hold_take_the_plain_path(triton_device, monkeypatch, tinycudann):
    monkeypatch.setitem(sys.modules, "nerfstudio_avatars.instant_avatar.field._triton_infer", None)
    small = HashFieldConfig(levels=2, log2_table_size=8, width=16, mixed_precision=False)
    for other in (replace(small, width=72), replace(small, implementation="tcnn")):
        fused, plain = fields(other, triton_device)
        compare(fused, plain, torch.rand(5, 3, device=triton_device))


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_without_triton_inference_is_density_and_colour(monkeypatch, backend):
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", backend)
    fused, plain = fields(FIELDS["odd"], "cpu")
    fused.config.mixed_precision = False
    compare(fused, plain, torch.rand(50, 3))


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nerfstudio_avatars.instant_avatar.field import _triton_infer

kernel, options = _triton_infer._infer, {"num_warps": _triton_infer._WARPS}
NUMBERS = dict.fromkeys(["n", "levels", "width", "geometry"], "i32") | {"numbers": "*i32"}
for colour in (True, False):
    sizes = {"WIDTH": 64, "GEOMETRY": 16, "COLOUR": colour, "BLOCK": _triton_infer._BLOCK}
    types = {name: "*fp32" for name in kernel.arg_names} | NUMBERS | dict.fromkeys(sizes, "constexpr")
    for capability in (75, 90):
        made = triton.compile(ASTSource(kernel, types, sizes), GPUTarget("cuda", capability, 32), options)
        assert "ld.local" not in made.asm["ptx"], capability
        assert len(made.asm["cubin"]) > 0 and made.metadata.shared <= 48 << 10
"""


@pytest.mark.slow
def test_the_kernel_compiles_for_gpus_that_are_not_there(compile_kernels):
    compile_kernels(COMPILE)
