"""The gradient from canonical roots to posed nodes: finite differences in float64, and the numba twin."""

import torch

from nerfstudio_avatars.instant_avatar.articulation.roots import Roots
from nerfstudio_avatars.instant_avatar.articulation.snarf import (
    _invert_cells,
    attach_pose_gradient,
    warp_in_cell,
    with_pose_gradient,
)

SPACING = 0.03
CORNERS = torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)]).double()


def bent_cells(count, bend=0.004):
    torch.manual_seed(0)
    return CORNERS * SPACING + bend * torch.randn(count, 8, 3, dtype=torch.float64)


def test_gradient_is_that_of_the_inverse():
    """Moving the corners moves the root that Newton finds, as the gradient says (gradcheck is of no use: the value does
    not depend on the corners, only the gradient does)."""
    corners, local = bent_cells(20), torch.rand(20, 3, dtype=torch.float64)
    x_posed = warp_in_cell(corners, local)
    moving = corners.clone().requires_grad_()
    root = attach_pose_gradient(local * SPACING, local, moving, SPACING, largest=1e9)
    upstream, direction = torch.randn(20, 3, dtype=torch.float64), torch.randn_like(corners)
    (root * upstream).sum().backward()
    start, eps = torch.full((20,), -1), 1e-7
    found = [_invert_cells(corners + sign * eps * direction, x_posed, start)[0] * SPACING for sign in (1, -1)]
    expected = (((found[0] - found[1]) / (2 * eps)) * upstream).sum()
    torch.testing.assert_close((moving.grad * direction).sum(), expected, atol=0, rtol=1e-4)


def test_forward_map_gradient_in_float64():
    corners, local = bent_cells(3).requires_grad_(), torch.rand(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(warp_in_cell, (corners, local))


def test_numba_twin_equals_the_specification():
    corners = bent_cells(100, bend=0.01).float()  # some are folded: the cap on the inverse counts
    cells = torch.randint(0, 300, (100, 8)).int()
    nodes = torch.zeros(300, 3)
    nodes[cells.long()] = corners
    count = 700
    roots = Roots(torch.rand(count, 3), torch.arange(count), torch.randint(0, 100, (count,)), torch.rand(count, 3))
    upstream = torch.randn(count, 3)
    fast, slow = nodes.clone().requires_grad_(), nodes.clone().requires_grad_()
    x = with_pose_gradient(roots, fast, cells, SPACING)
    assert torch.equal(x, roots.x_canonical)
    (x * upstream).sum().backward()
    of_corners = slow[cells[roots.cell].long()]
    (attach_pose_gradient(roots.x_canonical, roots.local, of_corners, SPACING) * upstream).sum().backward()
    torch.testing.assert_close(fast.grad, slow.grad, atol=2e-3, rtol=1e-3)


def test_fixed_poses_need_no_gradient():
    roots = Roots(torch.rand(2, 3), torch.arange(2), torch.zeros(2).long(), torch.rand(2, 3))
    assert with_pose_gradient(roots, torch.rand(8, 3), torch.arange(8)[None].int(), 0.03) is roots.x_canonical
