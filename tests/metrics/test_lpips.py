"""LPIPS and ST-LPIPS: what is fed, what is said when weights are absent, and that nothing is fetched."""

import logging
import urllib.request

import pytest
import torch
from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

from nerfstudio_avatars.metrics import lpips, st_lpips


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a metric tried to reach the network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


@pytest.fixture
def random_trunk(tmp_path, monkeypatch):
    """An AlexNet with random weights where torch hub keeps the trained one."""
    from torchvision.models import alexnet

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    lpips.trunk_path().parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(alexnet(weights=None).state_dict(), lpips.trunk_path())


def _pair():
    truth = torch.rand(72, 64, 3)
    return (truth + 0.1 * torch.randn(72, 64, 3)).clamp(0, 1), truth


def test_both_ways_of_feeding_are_torchmetrics_figures(random_trunk, no_network):
    prediction, truth = _pair()
    as_batch = [image.permute(2, 0, 1)[None] for image in (prediction, truth)]
    figures = lpips.lpips_alex(prediction, truth)
    for key, normalize in (("lpips_alex", True), ("lpips_alex_unnormalised", False)):
        expected = learned_perceptual_image_patch_similarity(*as_batch, net_type="alex", normalize=normalize)
        assert figures[key] == pytest.approx(expected.item(), rel=1e-4)
    assert figures["lpips_alex"] != pytest.approx(figures["lpips_alex_unnormalised"], rel=1e-2)


def test_an_absent_trunk_is_said_in_one_line_naming_the_place(tmp_path, monkeypatch, caplog, no_network):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert lpips.lpips_alex(*_pair()) == {}
        assert lpips.lpips_alex(*_pair()) == {}
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert str(tmp_path) in message and lpips.TRUNK in message and "\n" not in message


def _random_st_weights():
    """The package's file layout with random numbers: conv widths of AlexNet and its 3x3 blurs."""
    torch.manual_seed(0)
    blur = torch.tensor([1.0, 2.0, 1.0])
    blur = (blur[:, None] * blur / 16)[None, None]
    weights = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1), "scaling_layer.scale": torch.ones(1, 3, 1, 1)}
    convolutions = {"1.0": (64, 3, 11), "2.5": (192, 64, 5), "3.9": (384, 192, 3), "4.11": (256, 384, 3)}
    for name, (out, channels, side) in (convolutions | {"5.13": (256, 256, 3)}).items():
        weights[f"net.slice{name}.weight"] = torch.randn(out, channels, side, side) / (channels * side**2) ** 0.5
        weights[f"net.slice{name}.bias"] = torch.zeros(out)
    for name, channels in (("1.1", 64), ("2.4", 64), ("3.8", 192)):
        weights[f"net.slice{name}.filt"] = blur.expand(channels, 1, 3, 3).clone()
    for layer, channels in enumerate((64, 192, 384, 256, 256)):
        weights[f"lin{layer}.model.1.weight"] = torch.rand(1, channels, 1, 1)
    return weights


def test_st_lpips_grows_with_the_difference_and_is_zero_for_none(tmp_path, monkeypatch, no_network):
    path = tmp_path / "weights.pth"
    torch.save(_random_st_weights(), path)
    monkeypatch.setattr(st_lpips, "weights_path", lambda: path)
    truth = torch.rand(48, 40, 3)
    noise = torch.randn(48, 40, 3)
    distances = [st_lpips.st_lpips(truth + size * noise, truth)["st_lpips_alex"] for size in (0.0, 0.05, 0.3)]
    assert distances[0] == 0 and distances[0] < distances[1] < distances[2]


@pytest.mark.skipif(st_lpips.weights_path() is None, reason="the extra `stlpips` is not installed")
def test_st_lpips_is_the_published_metric():
    """Figures of `stlpips_pytorch` 0.0.2 itself (its own code, run once) for these pictures."""
    x, y = torch.meshgrid(torch.linspace(0, 1, 96), torch.linspace(0, 1, 80), indexing="ij")
    truth = torch.stack([x, y, (6 * x + 9 * y).sin() / 2 + 0.5], dim=-1)
    assert st_lpips.st_lpips(truth.roll(3, dims=0), truth)["st_lpips_alex"] == pytest.approx(0.0738959, abs=1e-5)
    assert st_lpips.st_lpips(truth**2, truth)["st_lpips_alex"] == pytest.approx(0.0781258, abs=1e-5)


def test_absent_st_weights_are_said_once(monkeypatch, caplog):
    monkeypatch.setattr(st_lpips, "PACKAGE", "no_such_package_of_weights")
    st_lpips._say_weights_are_absent.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert st_lpips.st_lpips(*_pair()) == {}
        assert st_lpips.st_lpips(*_pair()) == {}
    assert [record.getMessage().count("pip install") for record in caplog.records] == [1]
