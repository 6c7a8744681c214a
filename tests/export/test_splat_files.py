"""Splats in files: read again by readers of our own, and by splat-transform."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from splat_reader import ReadSplats, read_ply, read_spz

from nerfstudio_avatars.export.splat_files import ply_bytes, splat_glb, spz_bytes, upside_down
from nerfstudio_avatars.export.splats import Splats
from nerfstudio_avatars.motion.gltf_file import GltfFile
from tests.helpers.node import node, node_package


@pytest.fixture(scope="module")
def splats():
    draw = torch.Generator().manual_seed(1)
    turns = torch.nn.functional.normalize(torch.randn(500, 4, generator=draw), dim=-1)
    sizes = torch.exp(torch.randn(500, 3, generator=draw) - 5)
    opacities = torch.rand(500, generator=draw)
    opacities[:2] = torch.tensor([0.0, 1.0])
    return Splats(torch.randn(500, 3, generator=draw), turns, sizes, torch.rand(500, 3, generator=draw), opacities)


def same(read, splats, places, parts, shapes):
    """Compares, with tolerances for centres (metres), for sizes, colours and opacities, and for covariances."""
    np.testing.assert_allclose(read.centres, splats.centres, atol=places)
    np.testing.assert_allclose(read.sizes, splats.sizes, rtol=parts)
    np.testing.assert_allclose(read.colours, splats.colours, atol=parts)
    np.testing.assert_allclose(read.opacities, splats.opacities, atol=parts)
    # Half a turn about an axis of its own leaves a splat as it is.
    axes = Rotation.from_quat(np.roll(read.turns, -1, 1)).as_matrix() * read.sizes[:, None]
    found, truth = axes @ axes.swapaxes(1, 2), (splats.axes @ splats.axes.mT).numpy()
    assert (np.linalg.norm(found - truth, axis=(1, 2)) < shapes * np.linalg.norm(truth, axis=(1, 2))).all()


def test_ply_holds_what_it_was_given(splats):
    same(read_ply(ply_bytes(splats)), splats, 1e-6, 1e-3, 1e-3)


def test_spz_holds_it_as_finely_as_its_bits(splats):
    data = spz_bytes(splats)
    same(read_spz(data), splats, 0.5001 / (1 << 14), 0.035, 0.08)
    assert len(data) < len(ply_bytes(splats)) / 2.5 and spz_bytes(splats) == data


def test_what_spz_cannot_hold_is_told(splats):
    with pytest.raises(ValueError, match="more than 512 m"):
        spz_bytes(splats.moved(torch.eye(3, 4).repeat(500, 1, 1) * 1e4))


def test_khronos_extension_holds_it(splats, tmp_path):
    (tmp_path / "me.glb").write_bytes(splat_glb(splats, "CC0-1.0"))
    file = GltfFile(tmp_path / "me.glb")
    primitive = file.json["meshes"][0]["primitives"][0]
    part = {name: file.array(number) for name, number in primitive["attributes"].items()}
    extension = "KHR_gaussian_splatting"
    assert primitive["mode"] == 0 and file.json["extensionsUsed"] == [extension]
    assert primitive["extensions"] == {extension: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}}
    np.testing.assert_allclose(part["POSITION"], splats.centres)
    np.testing.assert_allclose(part[f"{extension}:ROTATION"], splats.turns[:, [1, 2, 3, 0]])
    np.testing.assert_allclose(part[f"{extension}:SCALE"], splats.sizes)
    np.testing.assert_allclose(part[f"{extension}:OPACITY"].reshape(-1), splats.opacities)
    # The fallback for viewers that do not know the extension is defined by its spherical harmonic.
    fallback = part[f"{extension}:SH_DEGREE_0_COEF_0"] * 0.282095 + 0.5
    np.testing.assert_allclose(part["COLOR_0"], np.c_[fallback, splats.opacities], atol=1e-5)
    assert file.json["asset"]["copyright"] == "CC0-1.0"


def test_a_half_turn_twice_is_none(splats):
    turned = upside_down(splats)
    np.testing.assert_allclose(turned.centres, splats.centres * torch.tensor([1, -1, -1]))
    torch.testing.assert_close(turned.axes @ turned.axes.mT, (splats.axes @ splats.axes.mT) * torch.tensor(
        [[1, -1, -1], [-1, 1, 1], [-1, 1, 1.0]]
    ), atol=1e-6, rtol=1e-3)  # fmt: skip


def test_splat_transform_reads_both_as_the_same(splats, tmp_path):
    """It turns PLY into SPZ, and SPZ into PLY, between the axes that either has."""
    program = node_package("@playcanvas/splat-transform") / "bin" / "cli.mjs"
    (tmp_path / "me.ply").write_bytes(ply_bytes(upside_down(splats)))
    (tmp_path / "me.spz").write_bytes(spz_bytes(splats))
    truth = upside_down(splats)
    for source, places, parts, shapes in (("me.ply", 1e-6, 1e-3, 1e-3), ("me.spz", 1e-4, 0.035, 0.08)):
        node(str(program), "-w", source, f"{source}.again.ply", folder=tmp_path)
        read = read_ply((tmp_path / f"{source}.again.ply").read_bytes())
        _, order = cKDTree(read.centres).query(truth.centres)
        same(ReadSplats(*(part[order] for part in vars(read).values())), truth, places, parts, shapes)
