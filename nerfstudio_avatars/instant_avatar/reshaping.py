"""An avatar whose body has another shape than the person's: taller, or stouter, by its body model's own coefficients.

The body model says where each vertex of the skin, and each joint, goes when the shape changes. What the avatar has
learnt around the skin goes along, so clothes and hair keep their distance from it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.linear_blend_skinning import blend_transforms, joint_transforms
from nerfstudio_avatars.bodies.smpl_body import SmplBody
from nerfstudio_avatars.instant_avatar.articulation.skinning_volume import SkinningVolume
from nerfstudio_avatars.instant_avatar.avatar import CanonicalAvatar, CanonicalAvatarConfig, PosedAvatar
from nerfstudio_avatars.instant_avatar.poses.pose_table import BodyPoseTable, canonical_state

_NEIGHBOURS = 4
"""Number of vertices that a point follows, by inverse distance, as its skinning weights do."""


def can_be_reshaped(body: SmplBody, config: CanonicalAvatarConfig) -> bool:
    """Whether a body has shape coefficients that change anything, and the search for canonical points follows them.

    Args:
        body: under the avatar.
        config: of the avatar.
    """
    if not config.articulation == config.empty_space == "cells":
        return False
    zero = torch.zeros(10, device=body.device)
    return not torch.allclose(body.rest(zero)[0], body.rest(zero + 1.0)[0], atol=1e-5)


class Reshaping:
    """Moves an avatar into poses of a body of another shape.

    Args:
        body: has the shapes.
        poses: of the avatar, with the joints that were learnt.
        volume: of the avatar.
    """

    def __init__(self, body: SmplBody, poses: BodyPoseTable, volume: SkinningVolume) -> None:
        # Imported here: most avatars keep their shape.
        from scipy.spatial import cKDTree

        self._body, self._poses, self._volume = body, poses, volume
        betas = poses.betas.to(body.device)
        self._tree = cKDTree(body.pose(canonical_state(betas)).vertices.cpu().numpy())
        self._skin, self._joints = body.rest(betas)
        self._nodes = self._neighbours(volume.node_positions)

    def posed(self, avatar: CanonicalAvatar, pose: BodyState) -> PosedAvatar:
        """The avatar in a pose and shape.

        Args:
            avatar: of the same person.
            pose: in the world frame, metres, z up; its betas are the shape.
        """
        shaped = pose.betas, pose.packed()
        return avatar.pose_for_rendering(self.transforms(*shaped), self.moved_nodes(*shaped))

    def _neighbours(self, points: Float[Tensor, "points 3"]) -> tuple[Tensor, Tensor]:
        distance, index = self._tree.query(points.cpu().numpy(), k=_NEIGHBOURS)
        near = 1 / torch.from_numpy(distance).float().clamp(min=1e-4)
        return (near / near.sum(1, keepdim=True)), torch.from_numpy(index)

    def _offsets(self, neighbours: tuple[Tensor, Tensor], betas: Tensor) -> Float[Tensor, "points 3"]:
        """By how far points that follow the skin move in the T-pose, metres."""
        shares, index = neighbours
        moved = (self._body.rest(betas.to(self._body.device))[0] - self._skin).cpu()
        return (shares[..., None] * moved[index]).sum(1)

    @torch.no_grad()
    def transforms(self, betas: Float[Tensor, "10"], pose: Float[Tensor, "75"]) -> Float[Tensor, "24 4 4"]:
        """Transforms from canonical space to the pose, in metres, for flesh that has the new shape already.

        Args:
            betas: the shape.
            pose: orientation, body pose and translation; shared corrections are added.
        """
        return self._from_rest(betas, pose) @ self._poses.rest_from_canonical()

    def _from_rest(self, betas: Tensor, pose: Tensor) -> Float[Tensor, "24 4 4"]:
        poses = self._poses
        joints = self._body.rest(betas.to(self._body.device))[1].to(pose.device) + poses.joint_offsets
        return joint_transforms(joints, pose[:3], pose[3:72] + poses.shared_correction, pose[72:], poses.parents)

    @torch.no_grad()
    def moved_nodes(self, betas: Float[Tensor, "10"], pose: Float[Tensor, "75"]) -> Float[Tensor, "nodes 3"]:
        """By how far the nodes of the volume are from where `transforms` puts them, in the pose, metres."""
        turns = F.pad(self._from_rest(betas, pose)[:, :3, :3], (0, 1, 0, 1))
        blended = blend_transforms(self._volume.node_weights, turns)[:, :3, :3]
        offsets = self._offsets(self._nodes, betas).to(pose.device)
        return (blended @ offsets[..., None])[..., 0]

    @torch.no_grad()
    def canonical_offsets(
        self, betas: Float[Tensor, "10"], points: Float[Tensor, "points 3"], weights: Float[Tensor, "points 24"]
    ) -> Float[Tensor, "points 3"]:
        """By how far canonical points move if the flesh gets the new shape, metres, on the CPU.

        Args:
            betas: the shape.
            points: of the old shape.
            weights: their skinning weights.
        """
        turns = F.pad(self._poses.rest_from_canonical().cpu()[:, :3, :3].mT, (0, 1, 0, 1))
        blended = blend_transforms(weights, turns)[:, :3, :3]
        return (blended @ self._offsets(self._neighbours(points), betas)[..., None])[..., 0]

    @torch.no_grad()
    def standing(self, betas: Float[Tensor, "10"]) -> Float[Tensor, "3"]:
        """What is added to the translation of every pose to keep the pelvis above its place and the soles on the
        ground: metres, z up, on the CPU.

        Args:
            betas: the shape.
        """
        skin, joints = self._body.rest(betas.to(self._body.device))
        higher = (joints[0, 1] - skin[:, 1].min()) - (self._joints[0, 1] - self._skin[:, 1].min())
        return (self._joints[0] - joints[0] + higher * higher.new_tensor([0.0, 0.0, 1.0])).cpu()
