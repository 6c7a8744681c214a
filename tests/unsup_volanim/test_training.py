"""The losses of `unsup-volanim`: zero for oracles, and their closed forms elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.unsup_volanim import network as animation_network
from nerfstudio_avatars.unsup_volanim import training as animation_training
from nerfstudio_avatars.unsup_volanim.keypoint_detector import KeypointDetectorConfig
from nerfstudio_avatars.unsup_volanim.losses.image_pyramid import pixel_grid
from nerfstudio_avatars.unsup_volanim.network import VolumetricAnimation, VolumetricAnimationConfig
from nerfstudio_avatars.unsup_volanim.part_pose_table import PartPoseTable, PartPoseTableConfig
from nerfstudio_avatars.unsup_volanim.pose_search import PoseSearch, PoseSearchConfig
from nerfstudio_avatars.unsup_volanim.training import (
    AnimationAids,
    AnimationBatch,
    AnimationLossConfig,
    animation_step,
    mask_loss,
    pull_loss,
)
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses, identity_poses
from nerfstudio_avatars.unsup_volanim.voxel_field import VoxelGeneratorConfig
from nerfstudio_avatars.unsup_volanim.voxel_render import VoxelRenderConfig, standard_rays

SIZE = 32
NO_LOSS = AnimationLossConfig(pixel=0, perceptual=0, equivariance=0, projection=0, pull=0, mask=0, found=0)


@pytest.fixture
def network():
    torch.manual_seed(0)
    config = VolumetricAnimationConfig(
        parts=3,
        points_per_edge=2,
        prior_slope=2.0,
        generator=VoxelGeneratorConfig(code_size=4, widths=(8, 4), norm="group"),
        detector=KeypointDetectorConfig(input_size=SIZE, widths=(8, 12), head=3, norm="group", positional_bias=0.15),
        render=VoxelRenderConfig(samples=8),
    )
    return VolumetricAnimation(config, identities=3)


@pytest.fixture
def batch():
    images = torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return AnimationBatch(images, (images[:, :1] > 0.5).float(), torch.tensor([0, 2]), torch.tensor([0, 1, 8, 9]))


class Centroid(nn.Module):
    """A keypoint network that is never wrong about pictures of one bright spot: it finds the spot's middle."""

    def __init__(self, points=8):
        super().__init__()
        self.points = points

    def forward(self, images, parts):
        shares = images.mean(1).flatten(1)
        middle = shares @ pixel_grid(images.shape[-1]).flatten(0, 1) / shares.sum(1, keepdim=True)
        return middle[:, None, None].expand(-1, parts, self.points, -1)


def spots(count, size=SIZE):
    """One spot each, well inside."""
    middle = torch.rand(count, 2, generator=torch.Generator().manual_seed(1)) * 0.6 - 0.3
    distance = (pixel_grid(size) - middle[:, None, None]).square().sum(-1)
    return torch.exp(-distance / 0.015)[:, None].expand(-1, 3, -1, -1)


def test_the_warp_is_the_identity_and_noise_of_a_tenth():
    torch.manual_seed(0)
    _, matrix = animation_training._random_warp(torch.zeros(2000, 3, 4, 4))
    torch.testing.assert_close(matrix.mean(0), torch.eye(2, 3), atol=0.01, rtol=0)
    torch.testing.assert_close(matrix.std(0), torch.full((2, 3), 0.1), atol=0.01, rtol=0)


def test_equivariance_is_nothing_for_a_predictor_that_follows_the_warp(network):
    torch.manual_seed(0)
    network.detector = Centroid()
    images = spots(16)
    batch = AnimationBatch(images, None, torch.tensor([0, 2]), torch.arange(16))
    losses = animation_step(network, batch, replace(NO_LOSS, equivariance=1.0), AnimationAids()).losses
    assert set(losses) == {"equivariance"} and losses["equivariance"] < 2e-3


def test_equivariance_is_the_distance_for_a_predictor_that_never_moves(network, monkeypatch):
    """A keypoint that stays at (0.5, 0) in pictures scaled by 1.2 and shifted by 0.1 is 0.2 and 0 off."""

    class Still(nn.Module):
        def forward(self, images, parts):
            return torch.tensor([0.5, 0.0]).expand(len(images), parts, 8, 2)

    network.detector = Still()
    matrix = torch.tensor([[1.2, 0.0, 0.1], [0.0, 1.0, 0.0]])
    monkeypatch.setattr(animation_training, "_random_warp", lambda images: (images, matrix.expand(len(images), 2, 3)))
    batch = AnimationBatch(spots(2), None, torch.tensor([0]), torch.arange(2))
    losses = animation_step(network, batch, replace(NO_LOSS, equivariance=3.0), AnimationAids()).losses
    assert losses["equivariance"].item() == pytest.approx(3.0 * (1.2 * 0.5 + 0.1 - 0.5) / 2)


def test_projection_is_nothing_for_projected_keypoints(network):
    class Oracle(nn.Module):
        def forward(self, images, parts):
            turn = torch.tensor([0.1, 0.3, -0.1]).expand(len(images), parts, 3)
            return network.project(PartPoses(axis_angle_to_matrix(turn), torch.zeros_like(turn))).detach()

    network.detector = Oracle()
    batch = AnimationBatch(spots(2), None, torch.tensor([0]), torch.arange(2))
    losses = animation_step(network, batch, replace(NO_LOSS, projection=1.0), AnimationAids()).losses
    assert losses["projection"] < 1e-4


def test_pull_is_nothing_when_every_part_is_seen():
    poses = PartPoses(torch.randn(2, 3, 3, 3), torch.randn(2, 3, 3))
    assert pull_loss(torch.full((2, 3), 0.2), poses, 0.1) == 0


def test_pull_brings_unseen_parts_to_the_most_visible_one():
    """omega = threshold - density; the distance is the mean over the 12 numbers of [R | t] and over the frames."""
    density = torch.tensor([[0.02, 0.5, 0.0], [0.0, 0.3, 0.04]])
    poses = PartPoses(torch.randn(2, 3, 3, 3).requires_grad_(), torch.randn(2, 3, 3).requires_grad_())
    matrix = torch.cat([poses.rotation, poses.translation[..., None]], -1)
    distance = (matrix - matrix[:, 1:2].detach()).abs().mean((0, 2, 3))
    expected = (0.1 - torch.tensor([0.01, 0.4, 0.02])).relu() * distance
    loss = pull_loss(density, poses, 0.1)
    torch.testing.assert_close(loss, expected.mean())
    loss.backward()
    moved = poses.rotation.grad.abs().sum((0, 2, 3))
    assert moved[1] == 0 and moved[0] > 0 and moved[2] > 0, "the seen one is not pulled"


def test_pull_brings_everything_to_the_middle_when_nothing_is_seen():
    poses = PartPoses(torch.randn(2, 2, 3, 3), torch.randn(2, 2, 3))
    matrix = torch.cat([poses.rotation, poses.translation[..., None]], -1)
    distance = (matrix - torch.eye(3, 4)).abs().mean((0, 2, 3))
    density = torch.tensor([[0.0, 0.04], [0.0, 0.0]])
    expected = (0.1 - torch.tensor([0.0, 0.02])) * distance
    torch.testing.assert_close(pull_loss(density, poses, 0.1), expected.mean())
    assert pull_loss(density, identity_poses(2, 2), 0.1) == 0


def test_pull_does_not_teach_the_density():
    density = torch.zeros(2, 2, requires_grad=True)
    poses = PartPoses(torch.randn(2, 2, 3, 3).requires_grad_(), torch.randn(2, 2, 3))
    pull_loss(density, poses, 0.1).backward()
    assert density.grad is None


def test_the_mask_loss_is_binary_cross_entropy_of_the_accumulation(network, batch):
    torch.manual_seed(0)
    step = animation_step(network, batch, replace(NO_LOSS, mask=2.0), AnimationAids(detect=True))
    accumulation = step.pictures.accumulation.clamp(1e-4, 1 - 1e-4)
    mask = batch.masks.flatten(1)
    expected = -(mask * accumulation.log() + (1 - mask) * (1 - accumulation).log()).mean()
    torch.testing.assert_close(step.losses["mask"], 2 * expected)
    without = replace(batch, masks=None)
    assert "mask" not in animation_step(network, without, replace(NO_LOSS, mask=2.0), AnimationAids()).losses


def test_a_weight_of_zero_leaves_a_loss_out(network, batch):
    assert animation_step(network, batch, NO_LOSS, AnimationAids()).losses == {}


def test_true_poses_are_used_as_they_are(network, batch):
    poses = identity_poses(4, 1)
    step = animation_step(network, batch, NO_LOSS, AnimationAids(detect=False), true_poses=poses)
    assert step.poses is poses


def test_a_perceptual_loss_sees_rendered_pictures_and_frames(network, batch):
    seen = []

    def compare(rendered, target):
        seen.extend((rendered, target))
        return (rendered - target).square().mean()

    losses = animation_step(network, batch, replace(NO_LOSS, perceptual=4.0), AnimationAids(), compare).losses
    rendered, target = seen
    frames = batch.images.permute(0, 2, 3, 1)
    assert rendered.shape == frames.shape and rendered.requires_grad
    torch.testing.assert_close(target, frames)
    torch.testing.assert_close(losses["perceptual"], 4 * (rendered - target).square().mean())


@pytest.mark.parametrize("articulated", [False, True])
def test_every_loss_at_once_has_finite_gradients(network, batch, articulated):
    if articulated:
        network.articulate(0.1)
    config = AnimationLossConfig(perceptual=1.0, pull_threshold=10.0)
    step = animation_step(network, batch, config, AnimationAids(density_noise=0.5), lambda a, b: (a - b).abs().mean())
    names = {"equivariance", "projection", "pixel", "perceptual", "mask", "pull"}
    assert set(step.losses) == names and all(loss.isfinite() for loss in step.losses.values())
    sum(step.losses.values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    for parameter in (network.embedding.table, network.point_logits, network.detector.head.weight):
        assert parameter.grad.abs().max() > 0


def test_patches_are_squares_of_the_whole_picture(network, batch):
    window = animation_training._Window(SIZE, 8, top=5, left=11)
    whole, part = standard_rays(SIZE), window.rays(torch.device("cpu"))
    expected = whole.directions.unflatten(0, (SIZE, SIZE))[5:13, 11:19].flatten(0, 1)
    torch.testing.assert_close(part.directions, expected)
    assert window.of(batch.images).shape == (4, 3, 8, 8)
    step = animation_step(network, batch, replace(NO_LOSS, pixel=1.0, mask=1.0), AnimationAids(patch=8))
    assert step.pictures.rgb.shape == (4, 64, 3)


@pytest.mark.parametrize(("wanted", "expected"), [(None, 8), (5, 5)])
def test_a_step_takes_as_many_samples_as_it_is_told(network, batch, monkeypatch, wanted, expected):
    taken, render = [], animation_network.render_voxels

    def watched(cubes, poses, rays, config, *more):
        taken.append(config.samples)
        return render(cubes, poses, rays, config, *more)

    monkeypatch.setattr(animation_network, "render_voxels", watched)
    animation_step(network, batch, replace(NO_LOSS, pixel=1.0), AnimationAids(samples=wanted))
    assert taken == [expected]


def test_patches_reach_every_pixel():
    torch.manual_seed(0)
    seen = torch.zeros(6, 6)
    for _ in range(200):
        window = animation_training._Window.somewhere(6, 4)
        window.of(seen).add_(1)
    assert seen.min() > 0
    assert animation_training._Window.somewhere(6, 9) == animation_training._Window(6, 6, 0, 0)


def test_smaller_pictures_are_rendered_when_asked_for(network, batch):
    step = animation_step(network, batch, replace(NO_LOSS, pixel=1.0), AnimationAids(render_size=16))
    assert step.pictures.rgb.shape == (4, 256, 3)


def test_a_search_decides_the_poses_and_teaches_the_detector(network, batch):
    torch.manual_seed(0)
    search = PoseSearch(12, PoseSearchConfig(candidates=5, samples=6))
    aids = AnimationAids(search=search)
    step = animation_step(network, batch, replace(NO_LOSS, found=1.0), aids)
    remembered = search.remembered(batch.rows)
    torch.testing.assert_close(step.poses.rotation, remembered.rotation)
    assert set(step.losses) == {"found"} and step.losses["found"] > 0
    step.losses["found"].backward()
    assert network.detector.head.weight.grad.abs().max() > 0
    silent = animation_step(network, batch, replace(NO_LOSS, found=1.0), replace(aids, detect=False))
    assert silent.losses == {}


def test_codes_scaled_to_nothing_make_all_identities_one(network, batch):
    together = AnimationAids(code_scale=0.0, detect=False)
    step = animation_step(network, batch, NO_LOSS, together, true_poses=identity_poses(4, 1))
    apart = animation_step(network, batch, NO_LOSS, replace(together, code_scale=1.0), true_poses=identity_poses(4, 1))
    # Samples are jittered; identities differ by more.
    assert (step.pictures.rgb[0] - step.pictures.rgb[2]).abs().mean() < (
        apart.pictures.rgb[0] - apart.pictures.rgb[2]
    ).abs().mean()


def test_masks_read_as_logits_are_a_bounded_pull():
    """UVA's code; the least of it, with two classes, is log(1 + 1/e)."""
    accumulation = torch.tensor([[[0.0, 1.0]]])
    right, wrong = (mask_loss(accumulation, torch.tensor(one), True) for one in ([[[0.0, 1.0]]], [[[1.0, 0.0]]]))
    assert float(right) == pytest.approx(0.3133, abs=1e-3) and float(wrong) == pytest.approx(1.3133, abs=1e-3)
    plain = mask_loss(accumulation, torch.tensor([[[1.0, 0.0]]]))
    assert plain > 5


@pytest.fixture
def table():
    table = PartPoseTable(12, 3, PartPoseTableConfig())
    table.begin(torch.arange(12), identity_poses(12, 1))
    return table


def test_a_table_decides_the_poses_learns_from_the_pictures_and_teaches_the_detector(network, batch, table):
    torch.manual_seed(0)
    network.articulate(0.5)
    table.articulate()
    before = table.rotation.clone()
    step = animation_step(network, batch, replace(NO_LOSS, pixel=1.0, found=1.0), AnimationAids(table=table))
    assert step.poses.rotation.shape == (4, 3, 3, 3) and set(step.losses) == {"pixel", "found"}
    assert torch.equal(table.rotation, before), "nothing is learnt before the gradient is there"
    torch.stack(list(step.losses.values())).sum().backward()
    assert network.detector.head.weight.grad.abs().max() > 0
    moved = (table.rotation != before).flatten(1).any(1)
    assert moved.nonzero()[:, 0].tolist() == batch.rows.tolist()


def test_the_second_network_learns_from_the_parts_and_keypoints_from_the_whole(network, batch, table):
    torch.manual_seed(0)
    config = replace(network.config, part_detector="upright", shared_parts=10.0)
    network = VolumetricAnimation(config, identities=3)
    aids = AnimationAids(table=table)
    whole = animation_step(network, batch, replace(NO_LOSS, found=1.0, relative=1.0), aids)
    assert set(whole.losses) == {"found"} and whole.poses.rotation.shape == (4, 1, 3, 3)
    network.articulate()
    table.articulate()
    step = animation_step(network, batch, replace(NO_LOSS, pixel=1.0, found=1.0, relative=1.0), aids)
    assert step.poses.rotation.shape == (4, 3, 3, 3) and set(step.losses) == {"pixel", "found", "relative"}
    assert network.estimate(batch.images).rotation.shape == (4, 3, 3, 3)
    torch.stack(list(step.losses.values())).sum().backward()
    assert network.relative.out.weight.grad.abs().max() > 0
    assert network.shared_logits.grad.flatten(1).abs().amax(1).min() > 0
    with pytest.raises(AssertionError, match="poses come from"):
        animation_step(network, batch, NO_LOSS, AnimationAids())
