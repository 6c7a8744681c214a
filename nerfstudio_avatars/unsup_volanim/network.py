"""The network of Unsupervised Volumetric Animation in plain torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from nerfstudio_avatars.bodies.rotations import axis_angle_to_matrix
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.unsup_volanim.keypoint_detector import KeypointDetector, KeypointDetectorConfig
from nerfstudio_avatars.unsup_volanim.part_seeds import part_middles, voronoi_logits
from nerfstudio_avatars.unsup_volanim.perspective_n_point import project, solve_poses
from nerfstudio_avatars.unsup_volanim.relative_pose_detector import RelativePoseDetector, RelativePoseDetectorConfig
from nerfstudio_avatars.unsup_volanim.sparse_rows import SparseRows
from nerfstudio_avatars.unsup_volanim.standard_camera import DISTANCE, FOCAL, SCENE
from nerfstudio_avatars.unsup_volanim.volume_rows import VolumeRows
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses
from nerfstudio_avatars.unsup_volanim.voxel_field import (
    COLOURS,
    DENSITIES,
    IdentityEmbedding,
    VoxelGenerator,
    VoxelGeneratorConfig,
    bias_of,
    doubled,
    ellipsoid_prior,
)
from nerfstudio_avatars.unsup_volanim.voxel_render import SceneRays, VoxelPictures, VoxelRenderConfig, render_voxels

PartDetector = Literal["keypoints", "upright"]
IdentityRowsKind = Literal["dense", "sparse"]
PoseMethod = Literal["gn", "epnp", "epnp-gn", "direct"]

_SHARED = 16
"""Number of voxels along an edge of the part logits that all identities share."""
_AVERAGED = 32
"""Maximum number of identities whose mean shape the parts' cells begin in."""


@dataclass
class VolumetricAnimationConfig:
    """Options of the network."""

    parts: int = 10
    """Number of rigid parts that the object has once it is articulated."""
    points_per_edge: int = 5
    """Number of keypoints to place along each edge of a part; a part has the cube of this number."""
    pose: PoseMethod = "gn"
    """Method to find poses from keypoints: `gn` is Gauss-Newton with an implicit gradient.
    The paper uses `epnp`, and `epnp-gn` refines its result.
    With `direct`, mean keypoints are read as rotation and translation, as in an ablation in the paper."""
    prior_slope: float = 0.0
    """Slope of a density that initially fills an ellipsoid in the middle; 0 starts without one, as in the paper."""
    prior_radii: tuple[float, float, float] = (0.55, 0.72, 0.6)
    """Radii of the ellipsoid that the initial density fills, along x, y and z, in half pictures."""
    detail: float = 0.0
    """Factor on the learning rate of a volume that each identity has in addition to the generator's.
    It helps a small generator with few identities; 0 leaves these volumes out, as in the paper."""
    detail_density: float = 1.0
    """Further factor on the density in these volumes, whose numbers are larger than those of colours."""
    fine_detail: bool = False
    """Whether the volume of `detail` is replaced by one with twice as many voxels along each edge late in a training.
    That is at `schedule.fine_from`, when shape and poses are known; until then, steps cost less."""
    identity_rows: IdentityRowsKind = "dense"
    """Way to learn what each identity has of its own: with `dense`, every step updates that of all identities.
    With `sparse`, a step reads and updates that of the identities it draws alone, for thousands of them.
    Their volumes (`detail`) are then in the file detail.rows in the run's folder, which all processes must see."""
    shared_parts: float = 0.0
    """Factor on the learning rate of a volume of part logits that all identities share instead of the generator's.
    It begins with one cell for each part; 0 leaves it out, as in the paper."""
    part_detector: PartDetector = "keypoints"
    """Way to find the poses of parts in a picture: with `keypoints`, each part has its own, as in the paper.
    With `upright`, keypoints give the pose of the whole object, and a second network how parts move against it."""
    generator: VoxelGeneratorConfig = field(default_factory=VoxelGeneratorConfig)
    """Options of the generator, which turns codes into cubes."""
    detector: KeypointDetectorConfig = field(default_factory=KeypointDetectorConfig)
    """Options of the detector, which finds keypoints in pictures."""
    relative: RelativePoseDetectorConfig = field(default_factory=RelativePoseDetectorConfig)
    """Options of the second network that `part_detector upright` has."""
    render: VoxelRenderConfig = field(default_factory=VoxelRenderConfig)
    """Options of the renderer, which turns cubes into pictures."""

    @property
    def own_volumes(self) -> bool:
        """Whether each identity has a volume of its own that is not in a file."""
        return self.detail > 0 and self.identity_rows == "dense"


@dataclass(frozen=True)
class PoseEstimate:
    """The output of the detector for pictures."""

    keypoints: Float[Tensor, "frames parts points 2"]
    """Keypoints found in the picture, of the parts or of the whole object."""
    projected: Float[Tensor, "frames parts points 2"]
    """Canonical keypoints projected by their poses."""
    poses: PartPoses
    """Poses of what has keypoints (frames, parts or 1)."""


class VolumetricAnimation(nn.Module):
    """Identity codes, canonical cubes, keypoints and poses, independent of losses and data.

    Until `articulate` is called, the object is one rigid part (the paper's G-phase), regardless of `parts`.
    """

    articulated: Tensor
    finer: Tensor
    prior: Tensor
    scene: Tensor

    def __init__(self, config: VolumetricAnimationConfig, identities: int) -> None:
        super().__init__()
        self.config = config
        parts, edge = config.parts, config.points_per_edge
        self.identities = identities
        self.bf16 = False
        """Whether training computes the layers of the generator and of the detector in bfloat16."""
        sparse = config.identity_rows == "sparse"
        self.embedding = IdentityEmbedding(identities, config.generator.code_size, sparse=sparse)
        self.generator = VoxelGenerator(config.generator, parts)
        n, channels = config.generator.resolution, COLOURS + DENSITIES
        self.detail: nn.Parameter | VolumeRows | None = None
        if config.detail:
            rows = VolumeRows(identities, channels, n) if sparse else torch.zeros(identities, channels, n, n, n)
            self.detail = nn.Parameter(rows) if isinstance(rows, Tensor) else rows
        if config.fine_detail and not config.own_volumes:
            raise UserError("network.fine-detail needs network.detail above 0, and network.identity-rows dense.")
        # One by one, so that a step updates only those that it draws.
        fine = identities if config.fine_detail else 0
        self.fine = nn.ParameterList(torch.zeros(channels, *[2 * n] * 3) for _ in range(fine))
        axis = torch.logit((torch.arange(edge) + 1) / (edge + 1))
        lattice = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).flatten(0, 2).flip(-1)
        self.shared_logits = nn.Parameter(torch.zeros(parts, *[_SHARED] * 3)) if config.shared_parts else None
        upright = config.part_detector == "upright"
        self.relative = RelativePoseDetector(config.relative, parts) if upright else None
        self.point_logits = nn.Parameter(lattice.repeat(parts, 1, 1))
        self.register_buffer("articulated", torch.tensor(False))
        self.register_buffer("finer", torch.tensor(False), persistent=config.fine_detail)
        self.register_buffer("scene", torch.tensor(SCENE), persistent=False)
        half = self.scene * config.render.enlarge
        prior = ellipsoid_prior(n, torch.tensor(config.prior_radii) / half, config.prior_slope)
        self.register_buffer("prior", prior, persistent=False)
        places = self.project(PartPoses(torch.eye(3).expand(1, 1, 3, 3), torch.zeros(1, 1, 3)))[0].detach()
        self.detector = KeypointDetector(config.detector, places.expand(1 if upright else parts, -1, -1))

    def sparse_rows(self) -> list[SparseRows]:
        """The tables of which a step learns few rows."""
        return [one for one in self.modules() if isinstance(one, SparseRows)]

    @property
    def parts(self) -> int:
        """Number of rigid parts in use."""
        return self.config.parts if bool(self.articulated) else 1

    @property
    def detected_parts(self) -> int:
        """Number of rigid parts that have keypoints of their own."""
        return self.parts if self.relative is None else 1

    @property
    def keypoints_3d(self) -> Float[Tensor, "parts points 3"]:
        """Canonical keypoints, shared by all identities, relative to the middle of the object."""
        return (2 * self.point_logits[: self.parts].sigmoid() - 1) * self.scene

    def fingerprint(self) -> str:
        """Identifies networks by what relates cubes to poses; adding identities does not change it."""
        digest = hashlib.sha256()
        shared = () if self.shared_logits is None else (self.shared_logits,)
        for tensor in (*self.generator.state_dict().values(), self.point_logits, *shared):
            digest.update(tensor.detach().cpu().numpy().tobytes())
        return digest.hexdigest()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Leaves training mode for a while."""
        was_training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(was_training)

    @torch.no_grad()
    def articulate(self, noise: float = 0.0) -> None:
        """Splits the single part into many, which only differ by some noise (the paper's step from G- to A-phase).

        Pictures do not change. Without noise, parts only differ by rounding errors. Logits that all identities share
        begin as one cell for each part instead.
        """

        def spread(rows: Tensor, scale: float) -> None:
            rows[1:] = rows[:1]
            if noise:
                rows.add_(torch.randn_like(rows) * (noise * scale))

        parts = self.config.parts
        for convolution in self.generator.head_convolutions():
            # A part's logit alone means nothing: with one part it was never trained.
            spread(convolution.weight[:parts], 1.0)
            spread(bias_of(convolution)[:parts], 1.0)
        if self.relative is None:
            for tensor in self.detector.per_part():
                spread(tensor.unflatten(0, (parts, -1)), 0.02)
            spread(self.point_logits, 0.2)
        if self.shared_logits is not None:
            self.shared_logits.copy_(self._cells() / self.config.shared_parts)
        self.articulated.fill_(True)

    def _cells(self) -> Float[Tensor, "parts n n n"]:
        """Cells in what is solid on average."""
        with self.evaluating():
            identities = torch.arange(min(self.identities, _AVERAGED), device=self.prior.device)
            density = F.relu(self.cubes(identities)[:, -1:]).mean(0, keepdim=True)
        coarse = F.interpolate(density, [_SHARED] * 3, mode="trilinear", align_corners=True)[0, 0]
        return voronoi_logits(coarse, self.scene * self.config.render.enlarge, self.config.parts)

    @property
    def cube_side(self) -> int:
        """Voxels along an edge of a cube."""
        return self.config.generator.resolution * (2 if bool(self.finer) else 1)

    def cubes(self, identities: Int[Tensor, " batch"]) -> Float[Tensor, "batch channels n n n"]:
        """Canonical voxels of known identities."""
        return self.cubes_of(self.embedding(identities), detail=self.detail_of(identities))

    def detail_of(self, identities: Int[Tensor, " batch"]) -> Float[Tensor, "batch 4 n n n"] | None:
        """The identities' own volumes (RGB, density), if they have any."""
        if isinstance(self.detail, VolumeRows):
            rows, places = self.detail.drawn(identities)
            return rows[places]
        if bool(self.finer):
            return torch.stack([self.fine[number] for number in identities.tolist()])
        return None if self.detail is None else self.detail[identities]

    @torch.no_grad()
    def double_voxels(self) -> None:
        """Lets cubes have the voxels of `fine_detail`, with what is known so far in them."""
        if bool(self.finer):
            return
        for number, fine in enumerate(self.fine):
            coarse = self.detail_of(torch.tensor([number], device=fine.device))
            if coarse is not None:
                fine.copy_(doubled(coarse)[0])
        self.finer.fill_(True)

    @torch.no_grad()
    def replace_volume(self, identity: int, change: Callable[[Tensor], Tensor]) -> None:
        """Changes the colours and the density (4, n, n, n) of an identity, by what it has of its own.

        Args:
            change: gives the new ones.

        Raises:
            ValueError: if it has nothing of its own that can be changed.
        """
        if not isinstance(self.detail, nn.Parameter):
            raise ValueError("network.detail is 0, or network.identity-rows sparse")
        number = torch.tensor([identity], device=self.prior.device)
        with self.evaluating():
            volume = self.cubes(number)[0, self.parts :]
        rates = torch.tensor([1.0] * COLOURS + [self.config.detail_density], device=volume.device) * self.config.detail
        own = self.fine[identity] if bool(self.finer) else self.detail[identity]
        own.add_((change(volume) - volume) / rates[:, None, None, None])

    def middle_of(self, cube: Float[Tensor, "channels n n n"], poses: PartPoses) -> Float[Tensor, "frames 1 3"]:
        """Centroids of what is solid, in poses (frames, parts) of an object."""
        middles, shares = part_middles(cube[None], self.scene * self.config.render.enlarge)
        placed = (poses.rotation @ middles[:, :, None])[..., 0] + poses.translation
        weights = shares[:, None] / shares.sum().clamp_min(1e-6)
        return (placed * weights).sum(-2, keepdim=True)

    def turned(
        self, cube: Float[Tensor, "channels n n n"], poses: PartPoses, yaw: float, pitch: float = 0.0
    ) -> PartPoses:
        """Poses (frames, parts) of an object, turned further about its middle: see `PartPoses.turned`."""
        return poses.turned(yaw, pitch, self.middle_of(cube, poses))

    def no_detail(self) -> Float[Tensor, "1 4 n n n"] | None:
        """The volume that somebody has who was not trained on, if identities have volumes."""
        side, device = self.cube_side, self.prior.device
        return torch.zeros(1, COLOURS + DENSITIES, side, side, side, device=device) if self.config.detail else None

    def cubes_of(
        self,
        codes: Float[Tensor, "batch size"],
        levels: int | None = None,
        shape_scale: float = 1.0,
        detail: Float[Tensor, "batch 4 finest finest finest"] | None = None,
    ) -> Float[Tensor, "batch channels n n n"]:
        """Canonical voxels of whitened codes: part logits, RGB, density before its activation.

        Args:
            levels: the number of resolutions of the generator to use; by default all.
            shape_scale: factor on the density of the generator, compared with the prior.
            detail: from `detail_of`; left out while not all levels are used.
        """
        shared = self.shared_logits is not None
        with self.reduced_precision():
            cubes = self.generator(codes, levels, self.config.parts if shared else 0).float()
        shape, colours = cubes[:, -1:] * shape_scale, cubes[:, -1 - COLOURS : -1]
        if self.config.prior_slope:
            prior = self.prior[None, None]
            if prior.shape[2:] != cubes.shape[2:]:
                prior = F.interpolate(prior, cubes.shape[2:], mode="trilinear", align_corners=True)
            shape = shape + prior * self.config.generator.density_scale
        logits = cubes[:, : self.parts]
        if detail is not None and levels is None:
            if detail.shape[-1] > cubes.shape[-1]:
                logits = logits if shared else doubled(logits)
                colours, shape = doubled(torch.cat([colours, shape], 1)).split([COLOURS, DENSITIES], 1)
            colours = colours + self.config.detail * detail[:, :-1]
            shape = shape + self.config.detail * self.config.detail_density * detail[:, -1:]
        if self.shared_logits is not None:
            # The only part of an object that is not articulated has no rival.
            volume = (self.config.shared_parts * self.shared_logits[: self.parts])[None] * self.articulated
            size = shape.shape[2:]
            logits = F.interpolate(volume, size, mode="trilinear", align_corners=True).expand(
                len(cubes), -1, -1, -1, -1
            )
        return torch.cat([logits, colours, shape], 1)

    def reduced_precision(self) -> AbstractContextManager[object]:
        """Computes layers in bfloat16 where training asks for it.

        Whitening, poses and rendering stay in 32 bits: they take differences of nearly equal numbers.
        """
        if not (self.bf16 and self.training):
            return nullcontext()
        return torch.autocast(self.prior.device.type, torch.bfloat16)

    def detect(self, images: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "frames parts points 2"]:
        """Keypoints of all that have some, in pictures."""
        with self.reduced_precision():
            return self.detector(images, self.detected_parts)

    def estimate(self, images: Float[Tensor, "frames 3 height width"]) -> PartPoses:
        """Poses (frames, parts) of all parts in pictures."""
        poses = self.poses_of(self.detect(images)).poses
        if self.relative is None or not bool(self.articulated):
            return poses
        return self.relative(images, poses)

    def poses_of(self, keypoints: Float[Tensor, "frames parts points 2"]) -> PoseEstimate:
        """Poses that project canonical keypoints to positions in pictures."""
        if self.config.pose == "direct":
            poses = _read_as_pose(keypoints)
        else:
            points = self.keypoints_3d[: keypoints.shape[1]].expand(len(keypoints), -1, -1, -1)
            poses = PartPoses(*solve_poses(keypoints, points, FOCAL, DISTANCE, self.config.pose))
        return PoseEstimate(keypoints, self.project(poses), poses)

    def project(self, poses: PartPoses) -> Float[Tensor, "frames parts points 2"]:
        """Projects canonical keypoints under poses."""
        points = self.keypoints_3d[: poses.rotation.shape[1]].expand(len(poses.rotation), -1, -1, -1)
        return project(points, poses.rotation, poses.translation, FOCAL, DISTANCE)

    def render(
        self,
        cubes: Float[Tensor, "identities channels n n n"],
        poses: PartPoses,
        rays: SceneRays,
        samples: int | None = None,
        jitter: bool = False,
        density_noise: float = 0.0,
        normals: bool = False,
        visible: Float[Tensor, "parts"] | None = None,
    ) -> VoxelPictures:
        """Renders moved cubes, with frames grouped by identity. See `render_voxels`."""
        config = replace(self.config.render, samples=samples) if samples else self.config.render
        return render_voxels(cubes, poses, rays, config, jitter, density_noise, normals, visible)


def _read_as_pose(keypoints: Float[Tensor, "frames parts points 2"]) -> PartPoses:
    """Reads a pose from the first three outputs of the network: rotation (radians) and shift (half pictures)."""
    numbers = keypoints[..., :3, :].flatten(-2)
    return PartPoses(axis_angle_to_matrix(numbers[..., :3]), 0.5 * numbers[..., 3:])
