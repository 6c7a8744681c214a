"""Poses from keypoints: OpenCV is the truth, and finite differences of whole solutions the gradient's."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.unsup_volanim.perspective_n_point import project, solve_poses

FOCAL, DEPTH = 1 / math.tan(0.175 / 2), 10.5
METHODS = ("gn", "epnp", "epnp-gn")
CAMERA = np.array([[FOCAL, 0, 0], [0, FOCAL, 0], [0, 0, 1]])


def lattice():
    """The method's canonical keypoints."""
    axis = np.arange(1, 6) / 3 - 1
    points = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    return torch.from_numpy(points * [1.00883, 1.00883, 1.0])


def poses(count, seed=0):
    """Turns of up to 29, 17 and 11 degrees, shifts of up to 0.1, 0.1 and 0.2."""
    draw = np.random.default_rng(seed)
    angles = draw.uniform(-1, 1, (count, 3)) * [0.5, 0.3, 0.2]
    rotation = Rotation.from_euler("yxz", angles).as_matrix()
    return torch.from_numpy(rotation), torch.from_numpy(draw.uniform(-1, 1, (count, 3)) * [0.1, 0.1, 0.2])


def seen(count, noise=0.0, seed=0):
    rotation, translation = poses(count, seed)
    points = lattice().expand(count, -1, -1)
    image = project(points, rotation, translation, FOCAL, DEPTH)
    image = image + noise * torch.from_numpy(np.random.default_rng(seed + 1).normal(size=image.shape))
    return image, points, rotation, translation


def degrees(a, b):
    """Angles between rotations."""
    return np.degrees(Rotation.from_matrix((a.mT @ b).numpy()).magnitude())


def opencv(image, points):
    """OpenCV's least squares of the reprojection."""
    found = []
    for y, x in zip(image.numpy(), points.numpy(), strict=True):
        _, turn, shift = cv2.solvePnP(x, y, CAMERA, None, flags=cv2.SOLVEPNP_ITERATIVE)
        turn, shift = cv2.solvePnPRefineLM(x, y, CAMERA, None, turn, shift)
        found.append((cv2.Rodrigues(turn)[0], shift[:, 0] - [0, 0, DEPTH]))
    return tuple(torch.from_numpy(np.stack(column)) for column in zip(*found, strict=True))


def test_projection_is_opencvs():
    image, points, rotation, translation = seen(3)
    for row in range(3):
        shift = translation[row].numpy() + [0, 0, DEPTH]
        turn = cv2.Rodrigues(rotation[row].numpy())[0]
        expected, _ = cv2.projectPoints(points[row].numpy(), turn, shift, CAMERA, None)
        np.testing.assert_allclose(image[row], expected[:, 0], atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_exact_keypoints_give_the_exact_pose(method):
    image, points, rotation, translation = seen(16)
    r, t = solve_poses(image, points, FOCAL, DEPTH, method, prior=0.0)
    # 0.05 degrees: what UVA's EPnP reaches in the 95th percentile without noise.
    assert degrees(r, rotation).max() < (0.05 if method == "epnp" else 1e-5)
    torch.testing.assert_close(t, translation, atol=0.02 if method == "epnp" else 1e-6, rtol=0)


@pytest.mark.parametrize("method", ["gn", "epnp-gn"])
@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1])
def test_noisy_keypoints_give_opencvs_least_squares(method, noise):
    image, points, _, _ = seen(12, noise)
    r, t = solve_poses(image, points, FOCAL, DEPTH, method, prior=0.0)
    expected_r, expected_t = opencv(image, points)
    assert np.median(degrees(r, expected_r)) < 0.01
    assert degrees(r, expected_r).max() < (0.05 if noise < 0.1 else 0.3)
    torch.testing.assert_close(t, expected_t, atol=0.002 if noise < 0.1 else 0.03, rtol=0)


@pytest.mark.parametrize(
    ("method", "noise", "median"), [("gn", 0.01, 0.2), ("gn", 0.03, 0.6), ("gn", 0.1, 2.0), ("epnp", 0.03, 0.8)]
)
def test_errors_are_as_small_as_the_published_methods(method, noise, median):
    image, points, rotation, _ = seen(24, noise)
    r, _ = solve_poses(image, points, FOCAL, DEPTH, method)
    assert np.median(degrees(r, rotation)) < median


def test_rotations_are_rotations_even_from_nonsense():
    image = torch.randn(8, 125, 2, dtype=torch.float64)
    r, _ = solve_poses(image, lattice().expand(8, -1, -1), FOCAL, DEPTH)
    torch.testing.assert_close(r @ r.mT, torch.eye(3, dtype=torch.float64).expand(8, 3, 3))
    torch.testing.assert_close(torch.linalg.det(r), torch.ones(8, dtype=torch.float64))


def test_parts_are_solved_one_by_one_and_keep_their_precision():
    image, points, rotation, translation = (value.float() for value in seen(6))
    r, t = solve_poses(image.unflatten(0, (2, 3)), points.unflatten(0, (2, 3)), FOCAL, DEPTH, prior=0.0)
    assert r.shape == (2, 3, 3, 3) and t.shape == (2, 3, 3) and r.dtype == t.dtype == torch.float32
    torch.testing.assert_close(r.flatten(0, 1), rotation, atol=1e-4, rtol=0)
    torch.testing.assert_close(t.flatten(0, 1), translation, atol=2e-3, rtol=0)


def weighted(image, points, a, b, prior=0.0):
    r, t = solve_poses(image, points, FOCAL, DEPTH, prior=prior, steps=12)
    return (a * r).sum() + (b * t).sum()


@pytest.mark.parametrize("of", ["image", "points"])
def test_the_gradient_at_an_exact_solution_is_the_whole_solutions(of):
    """Central differences of the converged solver, in random directions."""
    image, points, _, _ = seen(3)
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    a, b = drawn(3, 3, 3), drawn(3, 3)
    points = points.clone()
    wanted = image if of == "image" else points
    wanted.requires_grad_()
    (gradient,) = torch.autograd.grad(weighted(image, points, a, b), wanted)
    base, step = {"image": image.detach(), "points": points.detach()}, 1e-5
    for _ in range(4):
        direction = drawn(*wanted.shape)
        above, below = (weighted(**base | {of: base[of] + sign * step * direction}, a=a, b=b) for sign in (1, -1))
        expected = float(above - below) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.1])
def test_the_gradient_of_a_rotation_stays_bounded_as_noise_grows(noise):
    """EPnP's grows to 4.3 at the largest noise; that of one step at the solution was measured below 0.8 throughout."""
    image, points, _, _ = seen(24, noise)
    image.requires_grad_()
    r, _ = solve_poses(image, points, FOCAL, DEPTH)
    a = torch.from_numpy(np.random.default_rng(3).normal(size=(24, 3, 3)))
    (gradient,) = torch.autograd.grad((a * r).sum(), image)
    assert gradient.flatten(1).norm(dim=1).max() < 1.5


def degenerate():
    image, points, _, _ = seen(1)
    yield "mirrored", image * torch.tensor([-1.0, 1.0]), points
    yield "upside down", -image, points
    yield "in one place", torch.zeros_like(image) + 0.2, points
    yield "nearly in one place", torch.randn_like(image) * 1e-3, points
    yield "on a line", image * torch.tensor([1.0, 0.0]), points
    yield "in no order", image[:, torch.randperm(image.shape[1])], points
    yield "far outside", image * 50, points
    yield "flat keypoints", image, points * torch.tensor([1.0, 1.0, 0.0])
    yield "collapsed keypoints", image, points * 1e-4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("name", "image", "points"), list(degenerate()), ids=lambda value: value if isinstance(value, str) else ""
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_keypoints_give_finite_poses_and_gradients(method, name, image, points, dtype):
    image, points = image.to(dtype).requires_grad_(), points.to(dtype).requires_grad_()
    r, t = solve_poses(image, points, FOCAL, DEPTH, method)
    assert r.isfinite().all() and t.isfinite().all(), name
    (r.sum() + t.sum()).backward()
    assert image.grad.isfinite().all() and points.grad.isfinite().all(), name


@pytest.mark.parametrize("kind", ["in one place", "nearly in one place", "in no order"])
def test_the_prior_keeps_meaningless_keypoints_from_running_away(kind):
    """Points that coincide are best explained from infinitely far away."""
    image, points = next((image, points) for name, image, points in degenerate() if name == kind)
    held, free = (solve_poses(image, points, FOCAL, DEPTH, prior=prior, steps=40)[1].norm() for prior in (0.03, 0.0))
    assert held < DEPTH and free > 5 * held


def test_the_prior_pulls_as_a_ridge_does():
    """A shift along z alone: seen through points' spread, against the prior's weight."""
    shift, prior = 0.02, 0.03
    points = lattice()[None]
    identity = torch.eye(3, dtype=torch.float64)[None]
    image = project(points, identity, torch.tensor([[0.0, 0.0, shift]]).double(), FOCAL, DEPTH)
    _, t = solve_poses(image, points, FOCAL, DEPTH, prior=prior, steps=20)
    z = DEPTH + points[0, :, 2]
    information = (FOCAL * points[0, :, :2] / z[:, None] ** 2).square().sum()
    expected = shift * information / (information + prior**2 * points.shape[1])
    assert t[0, 2].item() == pytest.approx(expected.item(), rel=0.02)
    sideways = project(points, identity, torch.tensor([[0.1, 0.0, 0.0]]).double(), FOCAL, DEPTH)
    _, t = solve_poses(sideways, points, FOCAL, DEPTH, prior=prior, steps=20)
    assert t[0, 0].item() == pytest.approx(0.1, rel=2e-3)


def test_a_stronger_prior_holds_the_object_nearer_to_its_place():
    image, points, _, _ = seen(8)
    lengths = [solve_poses(image, points, FOCAL, DEPTH, prior=prior)[1].norm(dim=-1).mean() for prior in (0, 0.03, 0.3)]
    assert lengths[0] > lengths[1] > lengths[2]
