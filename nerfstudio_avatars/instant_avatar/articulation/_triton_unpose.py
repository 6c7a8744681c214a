"""Triton twin of `snarf.unpose`, for CUDA, with one point per lane.

Tested in Triton's interpreter, which knows no races and no divergence; not yet timed on a GPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from nerfstudio_avatars.instant_avatar.articulation.posed_cells import PosedCells
from nerfstudio_avatars.instant_avatar.articulation.roots import NEWTON_STEPS, RESIDUAL, SAME_ROOT, TOLERANCE, Roots
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.dynamic_sizes import Program, Sizes, owners

_BLOCK = 32
"""Points per program: one warp. Points wait for one another, so more of them would wait longer."""
_MOST_ROOTS = 16
"""Number of roots of one point that the buffers hold, more than a body can have."""


@triton.jit
def _bin(x, origin, scale, size):
    """Bin along one axis as a floating-point number, and whether there is such a bin."""
    at = tl.floor((x - tl.load(origin)) * scale)
    return at, (at >= 0) & (at < size)


@triton.jit
def _in_box(px, py, pz, lower, upper, c, mask):
    """Whether points lie in the bounding boxes of cells."""
    lower, upper = lower + 3 * c, upper + 3 * c
    inside = mask & (px >= tl.load(lower, mask=mask, other=0.0)) & (px <= tl.load(upper, mask=mask, other=0.0))
    inside &= (py >= tl.load(lower + 1, mask=mask, other=0.0)) & (py <= tl.load(upper + 1, mask=mask, other=0.0))
    inside &= (pz >= tl.load(lower + 2, mask=mask, other=0.0)) & (pz <= tl.load(upper + 2, mask=mask, other=0.0))
    return inside


@triton.jit
def _polynomial(nodes, n0, n1, n2, n3, n4, n5, n6, n7, mask):
    """One coordinate of cells' maps: factors of 1, u, v, w, uv, uw, vw, uvw."""
    x0, x1 = tl.load(nodes + 3 * n0, mask=mask, other=0.0), tl.load(nodes + 3 * n1, mask=mask, other=0.0)
    x2, x3 = tl.load(nodes + 3 * n2, mask=mask, other=0.0), tl.load(nodes + 3 * n3, mask=mask, other=0.0)
    x4, x5 = tl.load(nodes + 3 * n4, mask=mask, other=0.0), tl.load(nodes + 3 * n5, mask=mask, other=0.0)
    x6, x7 = tl.load(nodes + 3 * n6, mask=mask, other=0.0), tl.load(nodes + 3 * n7, mask=mask, other=0.0)
    uvw = x7 - x6 - x5 + x4 - x3 + x2 + x1 - x0
    return x0, x1 - x0, x2 - x0, x4 - x0, x3 - x2 - x1 + x0, x5 - x4 - x1 + x0, x6 - x4 - x2 + x0, uvw


@triton.jit
def _along(b0, b1, b2, b3, b4, b5, b6, b7, u, v, w):
    """One coordinate of maps: value, and derivatives along the cells' axes."""
    along_w = b3 + v * b6
    du = b1 + v * b4 + w * (b5 + v * b7)
    dv = b2 + u * b4 + w * (b6 + u * b7)
    return b0 + v * b2 + w * along_w + u * du, du, dv, along_w + u * (b5 + v * b7)


@triton.jit
def _step(at, f0, f1, f2, r0, r1, r2, determinant):
    """The Newton step in one coordinate, kept near the cell."""
    return tl.minimum(tl.maximum(at - (r0 * f0 + r1 * f1 + r2 * f2) / determinant, -0.5), 1.5)


@triton.jit
def _is_within(at, tolerance):
    return (at >= -tolerance) & (at <= 1 + tolerance)


@triton.jit(do_not_specialize=["n", "d0", "d1", "d2"])
def _unpose(
    x, nodes, cells, lower, upper, sides, cell_index, origin, offsets, members, out_count, out_cell, out_local,
    n, bin_scale, d0, d1, d2, same, residual, tolerance,
    STEPS: tl.constexpr, MOST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    p = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    px, py, pz = (
        tl.load(x + 3 * p, mask=p < n, other=0.0),
        tl.load(x + 3 * p + 1, mask=p < n, other=0.0),
        tl.load(x + 3 * p + 2, mask=p < n, other=0.0),
    )
    i, in_i = _bin(px, origin, bin_scale, d0)
    j, in_j = _bin(py, origin + 1, bin_scale, d1)
    k, in_k = _bin(pz, origin + 2, bin_scale, d2)
    known = (p < n) & in_i & in_j & in_k
    at = tl.where(known, (i.to(tl.int32) * d1 + j.to(tl.int32)) * d2 + k.to(tl.int32), 0)
    m, end = tl.load(offsets + at, mask=known, other=0), tl.load(offsets + at + 1, mask=known, other=0)
    found = tl.zeros((BLOCK,), tl.int32)
    while tl.max((m < end).to(tl.int32), 0) > 0:
        # Each lane goes on to its next cell whose box holds its point; all lanes then invert theirs together.
        c = tl.load(members + m, mask=m < end, other=0)
        hit = _in_box(px, py, pz, lower, upper, c, m < end)
        while tl.max(((m < end) & ~hit).to(tl.int32), 0) > 0:
            m += ((m < end) & ~hit).to(tl.int32)
            c = tl.load(members + m, mask=m < end, other=0)
            hit = _in_box(px, py, pz, lower, upper, c, m < end)
        m += 1

        corners = cells + 8 * c
        n0, n1 = tl.load(corners, mask=hit, other=0), tl.load(corners + 1, mask=hit, other=0)
        n2, n3 = tl.load(corners + 2, mask=hit, other=0), tl.load(corners + 3, mask=hit, other=0)
        n4, n5 = tl.load(corners + 4, mask=hit, other=0), tl.load(corners + 5, mask=hit, other=0)
        n6, n7 = tl.load(corners + 6, mask=hit, other=0), tl.load(corners + 7, mask=hit, other=0)
        a0, a1, a2, a3, a4, a5, a6, a7 = _polynomial(nodes, n0, n1, n2, n3, n4, n5, n6, n7, hit)
        b0, b1, b2, b3, b4, b5, b6, b7 = _polynomial(nodes + 1, n0, n1, n2, n3, n4, n5, n6, n7, hit)
        c0, c1, c2, c3, c4, c5, c6, c7 = _polynomial(nodes + 2, n0, n1, n2, n3, n4, n5, n6, n7, hit)
        ci = tl.load(cell_index + 3 * c, mask=hit, other=0)
        cj = tl.load(cell_index + 3 * c + 1, mask=hit, other=0)
        ck = tl.load(cell_index + 3 * c + 2, mask=hit, other=0)
        # Folded cells are tried from their centre and from either side of the fold, all others from the centre.
        for attempt in range(3):
            side = tl.load(sides + 2 * c + attempt - 1, mask=hit & (attempt > 0), other=-1)
            going = hit & ((attempt == 0) | (side >= 0))
            u = tl.where(side < 0, 0.5, 0.15 + 0.7 * (side & 1).to(tl.float32))
            v = tl.where(side < 0, 0.5, 0.15 + 0.7 * (side >> 1 & 1).to(tl.float32))
            w = tl.where(side < 0, 0.5, 0.15 + 0.7 * (side >> 2 & 1).to(tl.float32))
            error = tl.where(going, 0.0, 1.0)
            step = 0
            while tl.max(going.to(tl.int32), 0) > 0:
                f0, du0, dv0, dw0 = _along(a0 - px, a1, a2, a3, a4, a5, a6, a7, u, v, w)
                f1, du1, dv1, dw1 = _along(b0 - py, b1, b2, b3, b4, b5, b6, b7, u, v, w)
                f2, du2, dv2, dw2 = _along(c0 - pz, c1, c2, c3, c4, c5, c6, c7, u, v, w)
                error = tl.where(going, f0 * f0 + f1 * f1 + f2 * f2, error)
                # Lanes that are close enough rest.
                going = going & (error > 0.01 * residual * residual) & (step < STEPS)
                r0, r1, r2 = dv1 * dw2 - dv2 * dw1, dv2 * dw0 - dv0 * dw2, dv0 * dw1 - dv1 * dw0
                determinant = du0 * r0 + du1 * r1 + du2 * r2
                determinant = tl.where(tl.abs(determinant) < 1e-19, 1e-19, determinant)
                s0, s1, s2 = dw1 * du2 - dw2 * du1, dw2 * du0 - dw0 * du2, dw0 * du1 - dw1 * du0
                t0, t1, t2 = du1 * dv2 - du2 * dv1, du2 * dv0 - du0 * dv2, du0 * dv1 - du1 * dv0
                u = tl.where(going, _step(u, f0, f1, f2, r0, r1, r2, determinant), u)
                v = tl.where(going, _step(v, f0, f1, f2, s0, s1, s2, determinant), v)
                w = tl.where(going, _step(w, f0, f1, f2, t0, t1, t2, determinant), w)
                step += 1
            new = (error < residual * residual) & (found < MOST)
            new = new & _is_within(u, tolerance) & _is_within(v, tolerance) & _is_within(w, tolerance)
            # A face that two cells share gives one root.
            for q in range(tl.max(tl.where(new, found, 0), 0)):
                earlier = new & (q < found)
                o = tl.load(out_cell + MOST * p + q, mask=earlier, other=0)
                other = out_local + 3 * (MOST * p + q)
                e0 = (tl.load(cell_index + 3 * o, mask=earlier, other=0) - ci).to(tl.float32) - u
                e1 = (tl.load(cell_index + 3 * o + 1, mask=earlier, other=0) - cj).to(tl.float32) - v
                e2 = (tl.load(cell_index + 3 * o + 2, mask=earlier, other=0) - ck).to(tl.float32) - w
                e0 += tl.load(other, mask=earlier, other=0.0)
                e1 += tl.load(other + 1, mask=earlier, other=0.0)
                e2 += tl.load(other + 2, mask=earlier, other=0.0)
                new = new & ~(earlier & (e0 * e0 + e1 * e1 + e2 * e2 < same))
            to = MOST * p + found
            tl.store(out_cell + to, c, mask=new)
            tl.store(out_local + 3 * to, u, mask=new)
            tl.store(out_local + 3 * to + 1, v, mask=new)
            tl.store(out_local + 3 * to + 2, w, mask=new)
            found += new.to(tl.int32)
            # What one lane stored, another one may read for it above.
            tl.debug_barrier()
    tl.store(out_count + p, found, mask=p < n)


def unposing(x_posed: Tensor, posed: PosedCells, volume: SkinningVolume) -> Program[Roots]:
    """All canonical roots of posed points within the active cells."""
    n, device = len(x_posed), x_posed.device
    count = torch.zeros(n, dtype=torch.int32, device=device)
    out_cell = torch.empty(n, _MOST_ROOTS, dtype=torch.int32, device=device)
    out_local = torch.empty(n, _MOST_ROOTS, 3, device=device)
    if n:
        whole = [posed.cells, posed.sides, volume.cell_index, posed.offsets, posed.members]
        cells, sides, cell_index, offsets, members = (numbers.int().contiguous() for numbers in whole)
        real = [x_posed.detach(), posed.nodes, posed.lower, posed.upper, posed.origin]
        x, nodes, lower, upper, origin = (numbers.contiguous() for numbers in real)
        with torch.cuda.device_of(x_posed):
            _unpose[(triton.cdiv(n, _BLOCK),)](
                x, nodes, cells, lower, upper, sides, cell_index, origin, offsets, members, count, out_cell, out_local,
                n, 1 / posed.bin_size, *posed.dims, (SAME_ROOT / volume.spacing) ** 2, RESIDUAL, TOLERANCE,
                STEPS=NEWTON_STEPS, MOST=_MOST_ROOTS, BLOCK=_BLOCK, num_warps=1,
            )  # fmt: skip
    count = count.long()
    (total,) = yield Sizes("roots", count.sum()[None])
    owner = owners(count, total)
    real, point = owner < n, owner.clamp(max=n - 1)
    rank = torch.where(real, torch.arange(total, device=device) - (count.cumsum(0) - count)[point], 0)
    cell = torch.where(real, out_cell[point, rank].long(), -1)
    local = torch.where(real[:, None], out_local[point, rank], 0.0)
    x_canonical = volume.origin + volume.spacing * (volume.cell_index[cell] + local)
    return Roots(x_canonical, point, cell, local)
