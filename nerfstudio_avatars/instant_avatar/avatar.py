"""The avatar: canonical field, articulation and occupancy, rendered in any pose. Plain torch, no nerfstudio."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from nerfstudio_avatars.backend import use_numba
from nerfstudio_avatars.instant_avatar.articulation.binning import bin_all
from nerfstudio_avatars.instant_avatar.articulation.broyden import INIT_BONES, TransformGrid, unpose_in_grid
from nerfstudio_avatars.instant_avatar.articulation.implicit_gradient import implicit_canonical
from nerfstudio_avatars.instant_avatar.articulation.posed_cells import PosedCells
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import Mesh, SkinningVolume
from nerfstudio_avatars.instant_avatar.articulation.snarf import unpose, with_pose_gradient
from nerfstudio_avatars.instant_avatar.articulation.snarf_weights import (
    PAPER_RESOLUTION,
    WeightVolume,
    paper_weight_volume,
)
from nerfstudio_avatars.instant_avatar.dynamic_sizes import Budget, Program, run_together
from nerfstudio_avatars.instant_avatar.field.hash_field import HashField, HashFieldConfig
from nerfstudio_avatars.instant_avatar.losses.occupancy_regulariser import occupancy_regulariser
from nerfstudio_avatars.instant_avatar.rendering import picture
from nerfstudio_avatars.instant_avatar.rendering.occupancy import CanonicalOccupancy
from nerfstudio_avatars.instant_avatar.rendering.ray_march import marching, marching_points, ray_box
from nerfstudio_avatars.instant_avatar.rendering.samples import MarchSettings, PosedSpace
from nerfstudio_avatars.instant_avatar.rendering.union_grid import UnionGrid, marching_union

_ROOM = 0.02
"""Distance in metres that the band leaves around what the masks show."""


@dataclass
class CanonicalAvatarConfig:
    """Options of the canonical space and of marching."""

    field: HashFieldConfig = field(default_factory=HashFieldConfig)
    """Options of the canonical field, which holds density and colour."""
    cell_size: float = 0.02
    """Edge length of a skinning cell in metres; smaller cells are more exact in new poses, but slower."""
    band: float = 0.08
    """Distance in metres that the avatar may reach from the naked template."""
    follow_clothes: bool = True
    """Whether the avatar may reach farther where the masks show that clothes or hair usually do, such as skirts."""
    skinning_neighbours: int = 4
    """Number of template vertices that are averaged at each node of the skinning grid."""
    skinning_sweeps: int = 1
    """Number of sweeps that smooth the skinning grid; many of them blur the joints and lower the PSNR in new poses."""
    density: Literal["exp", "relu"] = "exp"
    """Activation to turn the raw output into density: `exp`, or `relu` as in the published code."""
    articulation: Literal["cells", "broyden"] = "cells"
    """Search for canonical points: `cells` uses posed cells, which are exact and fast.
    The paper's search is `broyden`, which starts from the bones in `broyden_bones`."""
    empty_space: Literal["cells", "union"] = "cells"
    """Space that rays skip: `cells` skips everything outside the posed occupied cells of the frame.
    The paper's choice is `union`, which skips everything outside one grid shared by all frames."""
    template_prior: float = 0.01
    """Length in metres over which the initial density falls off around the template, as exp(-distance / length).
    With 0, training starts from an empty space."""
    step: float = 0.0078
    """Distance between two samples on a ray, in metres."""
    max_samples: int = 192
    """Maximum number of samples to take on one ray."""
    ray_cut: float = 6.0
    """Optical depth to end a ray at, as cached in the cells; larger values are safer and slower."""
    paper_resolution: tuple[int, int, int] = PAPER_RESOLUTION
    """Number of nodes of the paper's skinning grid along z, y and x, which only `broyden` reads."""
    broyden_bones: tuple[int, ...] = INIT_BONES
    """Bones whose rigid inverses start Broyden's searches: 13 in the paper, 9 in Fast-SNARF (0 1 2 4 5 16 17 18 19)."""
    bin_size: float = 0.018
    """Edge length of the bins that posed cells are found in, in metres."""

    def loose(self, reach: Float[Tensor, " vertices"] | None) -> Float[Tensor, " vertices"] | None:
        """Distance in metres of clothes from the body that the band leaves out; None where it leaves out none.

        Args:
            reach: how far masks reach beyond the naked body, metres, at each vertex; None if nobody has looked.
        """
        if reach is None or not self.follow_clothes:
            return None
        loose = (reach + _ROOM - self.band).clamp(min=0)
        return loose if loose.max() > 0 else None


@dataclass(frozen=True)
class PosedAvatar:
    """The avatar's canonical space in one pose."""

    transforms: Float[Tensor, "joints 4 4"]
    """Transforms from canonical space to the pose, in metres."""
    nodes: Float[Tensor, "nodes 3"]
    """Posed nodes of the skinning volume, with gradients to the pose."""
    cells: PosedCells
    grid: TransformGrid | None = None
    """The paper's transforms, for Broyden's search."""
    union: UnionGrid | None = None
    """The paper's occupancy of this pose alone, for rendering."""


@dataclass(frozen=True)
class RenderedRays:
    """The rendering of a bundle of rays."""

    premultiplied: Float[Tensor, "rays 3"]
    accumulation: Float[Tensor, "rays 1"]
    depth: Float[Tensor, "rays 1"]
    """Mean distance along the ray in metres; 0 where nothing was hit."""
    canonical: Float[Tensor, "rays 3"]
    """Mean canonical position, in the unit cube of the field."""
    weights: Float[Tensor, " samples"] | None = None
    """Rendering weights of all samples, if requested."""

    @classmethod
    def of(cls, sums: Float[Tensor, "rays 8"], weights: Tensor | None = None) -> RenderedRays:
        """Builds it from sums along the rays, as in `rendering.picture`."""
        accumulation = sums[:, 3:4]
        mean = sums[:, 4:] / accumulation.clamp(min=1e-6)
        return cls(sums[:, :3], accumulation, mean[:, :1], mean[:, 1:], weights)


class CanonicalAvatar(nn.Module):
    """One person in canonical space.

    Args:
        config: sizes.
        mesh: the template body in the canonical pose.
        volume: of a finished avatar, whose weights will be loaded; found from the mesh by default.
    """

    skinning_basis: Tensor
    occupied_cells: Tensor
    cached_density: Tensor

    def __init__(self, config: CanonicalAvatarConfig, mesh: Mesh, volume: SkinningVolume | None = None) -> None:
        super().__init__()
        self.config = config
        self.volume = volume or SkinningVolume(
            mesh,
            spacing=config.cell_size,
            band=config.band,
            neighbours=config.skinning_neighbours,
            sweeps=config.skinning_sweeps,
        )
        # Linear blend skinning is linear in the transforms: these are the factors of their entries, at every node.
        homogeneous = nn.functional.pad(self.volume.node_positions, (0, 1), value=1.0)
        basis = self.volume.node_weights[:, :, None] * homogeneous[:, None]
        self.register_buffer("skinning_basis", basis.flatten(1), persistent=False)
        low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
        self.field = HashField(config.field, (low + high) / 2, float((high - low).max()) / 2 * 1.2)
        self.density_rule = picture.DensityRule(config.density, config.template_prior)
        self.occupancy = CanonicalOccupancy(self.volume)
        if volume is None:
            self.occupancy.start(self.density)
        self.march_settings = MarchSettings(config.step, config.max_samples, config.ray_cut)
        self.paper_weights: WeightVolume | None = None
        if config.articulation == "broyden":
            self.paper_weights = paper_weight_volume(mesh.vertices, mesh.weights, config.paper_resolution)
        self.union = UnionGrid() if config.empty_space == "union" else None
        # What follows from the occupancy, always in the same place.
        self.register_buffer("occupied_cells", self.occupancy.occupied_cells(self.volume), persistent=False)
        self.register_buffer("cached_density", self.occupancy.cached(), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.occupancy_changed())

    @torch.no_grad()
    def density(self, x_canonical: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """Density in 1/m, without gradient."""
        return self.density_rule(self.field.infer_density(x_canonical), x_canonical, self.volume)

    def density_with_gradient(self, x_canonical: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """Density in 1/m."""
        return self.density_rule(self.field.density(x_canonical)[0], x_canonical, self.volume)

    def occupancy_changed(self) -> None:
        """Must be called after every change of the occupancy, because cells posed earlier are out of date."""
        self.occupied_cells.copy_(self.occupancy.occupied_cells(self.volume))
        self.cached_density.copy_(self.occupancy.cached())

    def update_occupancy(self) -> None:
        """Updates the occupancy of a quarter of the band during training."""
        self.occupancy.update(self.density, fraction=0.25)
        self.occupancy_changed()

    def finish(self, levels: int) -> None:
        """Ends training: opens all levels, and recomputes the occupancy from the finished field."""
        self.field.open_levels(levels)
        self.occupancy.recompute(self.density)
        self.occupancy_changed()

    def update_union(self, posed: PosedAvatar, settling: bool, period: float) -> Float[Tensor, ""]:
        """Adds a pose to the paper's grid and returns the paper's regulariser, with gradient.

        Args:
            posed: the pose of the current frame.
            settling: whether these are the first steps, in which the regulariser follows the new grid and half acts
            everywhere.
            period: steps between two updates, and the factor that compensates for them.
        """
        assert self.union is not None
        density = self._density_in_cells(posed, self.union)
        before = self.union.update(density.detach())
        occupied = self.union.occupied if settling else before
        return occupancy_regulariser(density, ~occupied.flatten(), period, everywhere=0.5 if settling else 0.0)

    def _density_in_cells(self, posed: PosedAvatar, grid: UnionGrid) -> Float[Tensor, " cells"]:
        """Density at a random point in each cell of the paper's grid, in a pose: that of the densest root, 0 off the
        body."""
        to_world = posed.transforms[0].detach()
        x = grid.sample_cells() @ to_world[:3, :3].T + to_world[:3, 3]
        roots, point = self.canonical_roots(x, posed)
        found = torch.zeros(len(x), device=x.device)
        return found.scatter_reduce(0, point, self.density_with_gradient(roots), "amax")

    def pose_for_rendering(
        self, transforms: Float[Tensor, "joints 4 4"], moved_nodes: Float[Tensor, "nodes 3"] | None = None
    ) -> PosedAvatar:
        """Like `pose`, with the paper's occupancy of this pose if configured (five queries per cell).

        Args:
            transforms: from canonical space to the pose, in metres.
            moved_nodes: what is added to the posed nodes, metres.
        """
        posed = self.pose_all(transforms[None], moved_nodes=moved_nodes)[0]
        if self.union is None:
            return posed
        grid = UnionGrid().to(transforms.device)
        with torch.no_grad():
            passes = torch.stack([self._density_in_cells(posed, grid) for _ in range(5)])
        grid.replace(passes.amax(0))
        return replace(posed, union=grid)

    def make_budget(self) -> Budget | None:
        """A budget for the sizes in training steps, to avoid waiting for the GPU. None if nothing has to wait, as in
        numba, and for the paper's searches, which always wait.
        """
        is_paper = self.paper_weights is not None or self.union is not None
        return None if is_paper or use_numba(self.skinning_basis) else Budget()

    def pose(self, transforms: Float[Tensor, "joints 4 4"]) -> PosedAvatar:
        """Moves canonical space into a pose (transforms from canonical to posed, in metres)."""
        return self.pose_all(transforms[None])[0]

    def pose_all(
        self,
        transforms: Float[Tensor, "poses joints 4 4"],
        budget: Budget | None = None,
        moved_nodes: Float[Tensor, "nodes 3"] | None = None,
    ) -> list[PosedAvatar]:
        """Like `pose`, for several poses; waits for the GPU once, or not at all with a budget."""
        nodes = self._posed_nodes(transforms)
        nodes = nodes if moved_nodes is None else nodes + moved_nodes
        bins = bin_all(nodes, self.volume.cells, self.occupied_cells, self.config.bin_size, budget)
        grids = [TransformGrid.of_pose(self.paper_weights, t) if self.paper_weights else None for t in transforms]
        return [PosedAvatar(*parts) for parts in zip(transforms, nodes, bins, grids, strict=True)]

    def _posed_nodes(self, transforms: Float[Tensor, "poses joints 4 4"]) -> Float[Tensor, "poses nodes 3"]:
        """Equals `volume.pose_nodes` for each pose. A single product for all poses, and one in the backward pass, read
        the long basis once, which on the CPU takes a sixth of the time.
        """
        rows = transforms[:, :, :3].transpose(1, 2).flatten(2).flatten(0, 1)
        return (rows @ self.skinning_basis.T).unflatten(0, (-1, 3)).mT.contiguous()

    def canonical_roots(self, x_posed: Float[Tensor, "points 3"], posed: PosedAvatar) -> tuple[Tensor, Tensor]:
        """Finds canonical roots of posed points, differentiable in the pose, and the point of each (ascending)."""
        if posed.grid is not None:
            grid = posed.grid
            with torch.no_grad():
                roots, point, inverse = unpose_in_grid(x_posed, grid, self.config.broyden_bones)
            if grid.table.requires_grad:
                roots = implicit_canonical(roots, inverse, x_posed[point], grid.warp)
            return roots, point
        found = unpose(x_posed, posed.cells, self.volume)
        return with_pose_gradient(found, posed.nodes, self.volume.cells, self.volume.spacing), found.point

    def space_around(self, posed: PosedAvatar) -> PosedSpace:
        """What rays march through in a pose."""
        return PosedSpace(posed.cells, self.volume, self.cached_density, self.march_settings)

    def render(
        self,
        origins: Float[Tensor, "rays 3"],
        directions: Float[Tensor, "rays 3"],
        jitter: Float[Tensor, " rays"],
        poses: list[tuple[slice, PosedAvatar]],
        noise: float = 0.0,
        budget: Budget | None = None,
    ) -> RenderedRays:
        """Renders rays, with a separate pose for each slice of them.

        Args:
            directions: unit vectors.
            jitter: start in the first step, in [0, 1).
            poses: the pose of each slice; slices are consecutive and cover all rays.
            noise: standard deviation in 1/m of noise on the raw density (used early by the published code).
            budget: for the samples of each pose, if there is one (see `make_budget`).
        """
        return RenderedRays.of(*self._sums(origins, directions, jitter, poses, noise, budget))

    def _sums(
        self,
        origins: Tensor,
        directions: Tensor,
        jitter: Tensor,
        poses: list[tuple[slice, PosedAvatar]],
        noise: float = 0.0,
        budget: Budget | None = None,
    ) -> tuple[Float[Tensor, "rays 8"], Float[Tensor, " samples"]]:
        """Sums along rays, and the weights of samples."""
        parts, samples = [], 0
        marches = [self._marching(origins[rays], directions[rays], jitter[rays], posed) for rays, posed in poses]
        for (rays, _), (in_slice, t, x, point) in zip(poses, run_together(marches, budget), strict=True):
            ray = in_slice + rays.start
            # Padding belongs to no ray of any pose.
            parts.append((torch.where(ray < rays.stop, ray, len(origins)) if budget else ray, t, x, point + samples))
            samples += len(t)
        ray, t, x, sample = (torch.cat(c) if len(c) > 1 else c[0] for c in zip(*parts, strict=True))
        owner = None if not budget and len(x) == len(t) else sample
        step, rule = self.config.step, self.density_rule
        return picture.shade(len(origins), ray, t, x, owner, self.field, self.volume, rule, step, noise)

    @torch.no_grad()
    def render_picture(
        self,
        origins: Float[Tensor, "rays 3"],
        directions: Float[Tensor, "rays 3"],
        posed: PosedAvatar,
        rays_at_a_time: int = 1 << 15,
    ) -> RenderedRays:
        """Renders rays in one pose with samples in the middle of steps, without gradient and weights."""
        if posed.grid is None and self.union is None:
            space, field, rule = self.space_around(posed), self.field, self.density_rule
            return RenderedRays.of(picture.render(origins, directions, space, field, rule, rays_at_a_time))
        parts = []
        for o, d in zip(origins.split(rays_at_a_time), directions.split(rays_at_a_time), strict=True):
            parts.append(self._sums(o, d, torch.full_like(o[:, 0], 0.5), [(slice(0, len(o)), posed)])[0])
        return RenderedRays.of(torch.cat(parts))

    def _marching(
        self, origins: Tensor, directions: Tensor, jitter: Tensor, posed: PosedAvatar
    ) -> Program[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Program: ray and distance of samples, their roots and the sample of each."""
        if posed.grid is None and self.union is None:
            found = yield from marching(origins, directions, jitter, self.space_around(posed))
            x = with_pose_gradient(found.roots, posed.nodes, self.volume.cells, self.volume.spacing)
            return found.ray, found.t, x, found.roots.point
        step = self.config.step
        if self.union is None:
            near, far = ray_box(origins, directions, posed.cells.box)
            longest, holds = posed.cells.diagonal, posed.cells.holds
            ray, t = yield from marching_points(origins, directions, near, far, longest, jitter, step, holds)
        else:
            grid = posed.union or self.union
            ray, t = yield from marching_union(origins, directions, jitter, step, posed.transforms, grid)
        x, point = self.canonical_roots(origins[ray] + t[:, None] * directions[ray], posed)
        # Samples without a root see nothing.
        seen, point = torch.unique_consecutive(point, return_inverse=True)
        return ray[seen], t[seen], x, point
