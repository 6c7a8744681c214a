"""Writes motions to files that other programs read: BVH, AMASS, InstantAvatar's npz, and animations in GLB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import write_npz
from nerfstudio_avatars.motion.bvh_writer import bvh_text
from nerfstudio_avatars.motion.gltf_writer import GltfWriter, add_animation, add_skeleton
from nerfstudio_avatars.motion.loading import out_of_world
from nerfstudio_avatars.whole_files import whole_file

NpzLayout = Literal["instant-avatar", "amass"]

ENDINGS = (".bvh", ".npz", ".glb")
"""What a motion's file may be called."""

_AMASS_POSE, _AMASS_BETAS = 156, 16


def write_motion(
    motion: BodySequence, path: str | Path, rest_joints: Float[torch.Tensor, "24 3"], npz: NpzLayout = "instant-avatar"
) -> Path:
    """Writes a motion.

    >>> from nerfstudio_avatars.bodies.standin import load_standin
    >>> from nerfstudio_avatars.motion import load_motion
    >>> walk, (_, joints) = load_motion("walk"), load_standin().rest(torch.zeros(10))
    >>> write_motion(walk, "walk.bvh", joints).read_text().split()[2]
    'pelvis'

    Args:
        motion: in the world frame: metres, z up. Files have y up, those of AMASS z up.
        path: its ending says what is written: .bvh, .glb (a skeleton without a body) or .npz.
        rest_joints: joints of the T-pose of the body that moves, `body.rest(betas)[1]`, metres.
        npz: layout of an npz file. AMASS's has SMPL-H's 52 joints, of which the hands are straight.

    Returns:
        The path.

    Raises:
        UserError: another ending, or nothing can be written there.
    """
    path = Path(path)
    writers: dict[str, Callable[..., bytes]] = {
        ".bvh": lambda moved, joints: bvh_text(moved, joints).encode(),
        ".glb": _glb,
    }
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path}: expected a name that ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}.")
    motion, joints = motion.to("cpu"), rest_joints.detach().cpu()
    if path.suffix.lower() != ".npz":
        content = writers[path.suffix.lower()](out_of_world(motion, "y", joints[0]), joints)
        with whole_file(path) as partial:
            partial.write_bytes(content)
    elif npz == "amass":
        _write_amass(out_of_world(motion, "z", joints[0]), path)
    else:
        out_of_world(motion, "y", joints[0]).save(path)
    return path


def _glb(motion: BodySequence, rest_joints: torch.Tensor) -> bytes:
    writer = GltfWriter()
    nodes = add_skeleton(writer, rest_joints)
    add_animation(writer, "motion", motion, rest_joints, nodes)
    writer.add("scenes", {"nodes": nodes[:1]})
    writer.json["scene"] = 0
    return writer.glb()


def _write_amass(motion: BodySequence, path: Path) -> None:
    poses = np.zeros((len(motion), _AMASS_POSE))
    # SMPL's own two hand joints have no place there: SMPL-H's hands are fingers.
    poses[:, :66] = torch.cat([motion.global_orient, motion.body_pose[:, :63]], 1).numpy()
    betas = np.zeros(_AMASS_BETAS)
    # The stand-in's shape coefficients mean another thing.
    betas[:10] = 0 if motion.body == "standin" else motion.betas.numpy()
    write_npz(
        path,
        poses=poses,
        trans=motion.transl.double().numpy(),
        betas=betas,
        gender=np.str_(motion.gender),
        mocap_framerate=np.float64(motion.fps),
    )
