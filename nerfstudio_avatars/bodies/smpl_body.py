"""SMPL bodies, posed by `smplx`."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES, BodyState, PosedBody
from nerfstudio_avatars.bodies.linear_blend_skinning import axis_angle_to_matrix, joint_transforms
from nerfstudio_avatars.bodies.smpl_arrays import BETAS, SmplArrays


class SmplBody:
    """An immutable SMPL body: copies share its memory, and `to` returns another body."""

    joint_names = JOINT_NAMES

    def __init__(self, arrays: SmplArrays, name: str, gender: str = "neutral") -> None:
        """Builds the body.

        Args:
            arrays: the checked fields of SMPL.
            name: `standin`, `smpl` or a path, with which `load_body` finds the body again.
            gender: `neutral`, `male` or `female`.
        """
        self.name, self.gender = name, gender
        self.parents: tuple[int, ...] = tuple(int(parent) for parent in arrays.kintree_table[0])
        self._smpl: Any = _smplx_model(arrays, gender)  # smplx does not say what its buffers are

    def __deepcopy__(self, memo: dict) -> SmplBody:
        # nerfstudio deep-copies a data set's metadata; 50 MB of constants need no second copy.
        return self

    @property
    def faces(self) -> Int[Tensor, "faces 3"]:
        """Vertex indices of the triangles, counter-clockwise from outside."""
        return self._smpl.faces_tensor

    @property
    def weights(self) -> Float[Tensor, "vertices 24"]:
        """Skinning weights, summing to one over the joints."""
        return self._smpl.lbs_weights

    @property
    def device(self) -> torch.device:
        """The device of the body; states must be on it too."""
        return self._smpl.v_template.device

    def to(self, device: torch.device | str) -> SmplBody:
        """The body on a device (itself, if it is there already)."""
        device = torch.device(device)
        if device.type == self.device.type and device.index in (None, self.device.index):
            return self
        moved = copy.copy(self)
        moved._smpl = copy.deepcopy(self._smpl).to(device)
        return moved

    def rest(self, betas: Float[Tensor, "10"]) -> tuple[Float[Tensor, "vertices 3"], Float[Tensor, "24 3"]]:
        """Skin and joints of the shaped T-pose in metres, without pose correctives."""
        vertices = self._smpl.v_template + self._smpl.shapedirs @ betas
        return vertices, self._smpl.J_regressor @ vertices

    def pose(self, state: BodyState) -> PosedBody:
        """Poses the body; differentiable with respect to every part of the state."""
        rotations = axis_angle_to_matrix(torch.cat([state.global_orient, state.body_pose]).unflatten(0, (24, 3)))
        # Rotation matrices instead of angles: smplx's own conversion is off by 1e-8 rad at zero, in value and gradient.
        posed = self._smpl(
            betas=state.betas[None],
            global_orient=rotations[None, :1],
            body_pose=rotations[None, 1:],
            transl=state.transl[None],
            pose2rot=False,
        )
        _, joints_rest = self.rest(state.betas)
        transforms = joint_transforms(joints_rest, state.global_orient, state.body_pose, state.transl, self.parents)
        return PosedBody(vertices=posed.vertices[0], joints=posed.joints[0, :24], joint_transforms=transforms)


def _smplx_model(arrays: SmplArrays, gender: str) -> torch.nn.Module:
    # Imported here: smplx takes a second, and nerfstudio's command line builds no body.
    import smplx

    own = ("create_betas", "create_global_orient", "create_body_pose", "create_transl")
    fields = SimpleNamespace(**{field.name: getattr(arrays, field.name) for field in dataclasses.fields(arrays)})
    with contextlib.redirect_stdout(io.StringIO()):  # It announces every model of fewer than 300 shape directions.
        model = smplx.SMPL(
            "",
            data_struct=fields,
            gender=gender,
            num_betas=BETAS,
            # Joints picked from SMPL's own vertices mean nothing on another mesh; smplx insists on five of them.
            vertex_ids=dict.fromkeys(("nose", "reye", "leye", "rear", "lear"), 0),
            use_hands=False,
            use_feet_keypoints=False,
            **dict.fromkeys(own, False),
        )
    # The numpy copy of the faces would be the only part that does not move between devices.
    del model.faces
    return model.requires_grad_(False)
