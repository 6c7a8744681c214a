"""Layers in bfloat16 give the same cubes and keypoints to two digits, and the same pictures of a finished run."""

from __future__ import annotations

import pytest
import torch
from recorded_training import losses_of

from nerfstudio_avatars.unsup_volanim.keypoint_detector import KeypointDetectorConfig
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation, VolumetricAnimationConfig
from nerfstudio_avatars.unsup_volanim.voxel_field import VoxelGeneratorConfig


@pytest.fixture
def network():
    torch.manual_seed(0)
    generator = VoxelGeneratorConfig(code_size=4, widths=(16, 8, 8), norm="group", coarse_outputs=True)
    detector = KeypointDetectorConfig(input_size=16, widths=(8, 16), head=3, norm="group", positional_bias=0.15)
    return VolumetricAnimation(VolumetricAnimationConfig(parts=2, generator=generator, detector=detector), 6)


def seen(network):
    """Cubes, keypoints, and the gradient of a weight of each network."""
    network.zero_grad()
    cubes = network.cubes(torch.arange(4))
    keypoints = network.detect(torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)))
    (cubes.square().mean() + keypoints.square().mean()).backward()
    weights = network.generator.entry.weight, network.detector.down[0][0].weight
    return [cubes.detach(), keypoints.detach(), *(weight.grad.clone() for weight in weights)]


def test_what_layers_give_is_the_same_to_two_digits(network):
    """Derivatives were off by 5 % and 11 %."""
    exact = seen(network)
    network.bf16 = True
    for ours, theirs, share in zip(seen(network), exact, (0.01, 0.01, 0.2, 0.2), strict=True):
        assert ours.dtype == torch.float32 and not torch.equal(ours, theirs)
        assert (ours - theirs).norm() < share * theirs.norm()


def test_a_finished_network_is_not_rounded(network):
    with network.evaluating():
        exact = seen(network)
        network.bf16 = True
        for ours, theirs in zip(seen(network), exact, strict=True):
            assert torch.equal(ours, theirs)


def test_nerfstudios_option_for_mixed_precision_asks_for_it(head_clips, small_volanim, tmp_path):
    config = small_volanim(head_clips, tmp_path, steps=4)
    config.mixed_precision = True
    torch.manual_seed(0)
    exact, _ = losses_of(small_volanim(head_clips, tmp_path / "exact", steps=4))
    torch.manual_seed(0)
    losses, trainer = losses_of(config)
    assert not trainer.mixed_precision and not trainer.grad_scaler.is_enabled()
    assert trainer.pipeline.model.network.bf16
    assert losses[0]["pixel"] == pytest.approx(exact[0]["pixel"], rel=0.02)
    assert losses[0] != exact[0]
