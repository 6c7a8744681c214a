#!/usr/bin/env python
"""Makes the stand-in body that ships with the package, from Anny.

    pip install 'nerfstudio-avatars[standin]'
    python scripts/make_standin_body.py standin_smpl_neutral.npz

Anny (PyPI `anny`; code Apache-2.0, Naver) is a parametric body whose mesh, shapes and skinning come from MakeHuman's
CC0 assets, so what is made here is free of licences. Its own SMPL topologies are not touched: they fetch non-commercial
data.

Adults are drawn at random, their bones merged into SMPL's 24 joints, their A-pose turned into SMPL's T-pose, and their
shapes reduced to a mean and ten directions of unit variance. The joints' regressor is fitted to the bones' heads. Pose
correctives are zero: Anny has none.

The shipped file comes from another draw of people by the same recipe. Faces and skinning weights of what is written
here are identical to its own; vertices of the mean body differ by 8 mm on average, joints by at most 8 mm, but for the
first spine joint, which lies 22 mm further forward there. Fitted betas do not carry over between the two.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray
from scipy.optimize import nnls

from nerfstudio_avatars.bodies.body_model import JOINT_NAMES
from nerfstudio_avatars.bodies.linear_blend_skinning import joint_transforms

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
PELVIS_HEIGHT = -0.23
"""Where SMPL's rest pose has the pelvis, metres (y up, origin at the chest)."""
LEG_LEAN = 0.03
"""How far SMPL's T-pose spreads the legs, radians."""
REGRESSOR_VERTICES = 570
BETAS = 10

# Start of a bone's name -> SMPL joint; `?` becomes left or right. Bones that are not named go with their parents.
BONES = {
    "root": "pelvis",
    "pelvis": "pelvis",
    "upperleg": "?_hip",
    "lowerleg": "?_knee",
    "foot": "?_ankle",
    "toe": "?_foot",
    "spine05": "spine1",
    "spine04": "spine1",
    "spine03": "spine2",
    "spine02": "spine2",
    "spine01": "spine3",
    "neck": "neck",
    "head": "head",
    "clavicle": "?_collar",
    "shoulder01": "?_collar",
    "upperarm": "?_shoulder",
    "lowerarm": "?_elbow",
    "wrist": "?_wrist",
    "metacarpal": "?_hand",
    "finger": "?_hand",
}
# SMPL joint -> the bone whose head is its place.
HEADS = {
    "?_hip": "upperleg01",
    "?_knee": "lowerleg01",
    "?_ankle": "foot",
    "?_foot": "toe2-1",
    "spine2": "spine03",
    "spine3": "spine01",
    "neck": "neck01",
    "head": "head",
    "?_collar": "clavicle",
    "?_shoulder": "upperarm01",
    "?_elbow": "lowerarm01",
    "?_wrist": "wrist",
    "?_hand": "finger3-1",
}
SIDES = {"L": "left", "R": "right"}


def load_anny() -> torch.nn.Module:
    """Anny's model; the first time it builds its cache for a minute."""
    try:
        import anny
    except ImportError as error:
        sys.exit(f"This script needs the package `anny` ({error}): pip install 'nerfstudio-avatars[standin]'")
    return anny.Anny(rig="makehuman", topology="anny", phenotype_blendshapes="original", skinning_method="lbs")


def draw_adults(model: torch.nn.Module, count: int, seed: int) -> tuple[ndarray, ndarray]:
    """Vertices and heads of the bones of random adults in Anny's rest pose, in SMPL's axes (y up, facing +z)."""
    generator = torch.Generator().manual_seed(seed)
    # Anny's scales run from 0 to 1; 2/3 of `age` is a young adult, 1 a person of ninety.
    ranges = {
        "gender": (0.0, 1.0),
        "age": (0.6, 0.85),
        "muscle": (0.2, 0.8),
        "weight": (0.2, 0.8),
        "height": (0.25, 0.75),
        "proportions": (0.2, 0.8),
    }
    people = {name: low + (high - low) * torch.rand(count, generator=generator) for name, (low, high) in ranges.items()}
    vertices, heads = [], []
    for start in range(0, count, 24):
        out = model(phenotype_kwargs={name: values[start : start + 24] for name, values in people.items()})
        vertices.append(out["rest_vertices"].detach().numpy())
        heads.append(out["rest_bone_heads"].detach().numpy())
    # Anny is z-up and faces -y.
    to_smpl = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    return np.concatenate(vertices) @ to_smpl.T, np.concatenate(heads) @ to_smpl.T


def joint_of(bone: int, labels: list[str], parents: list[int]) -> int:
    """The SMPL joint that a bone belongs to."""
    stem, _, side = labels[bone].partition(".")
    for start, joint in BONES.items():
        if stem.startswith(start) and (side or "?" not in joint):
            return JOINT_NAMES.index(joint.replace("?", SIDES.get(side, "")))
    return joint_of(parents[bone], labels, parents)


def merge_weights(model: torch.nn.Module) -> ndarray:
    """Skinning weights (vertices, 24): those of all the bones of a joint together."""
    weights = np.zeros((len(model.template_vertices), len(PARENTS)))
    for bone in range(len(model.bone_labels)):
        joint = joint_of(bone, model.bone_labels, model.bone_parents)
        weights[:, joint] += model.dense_vertex_bone_weights[:, bone].numpy()
    return weights / weights.sum(1, keepdims=True)


def place_joints(heads: ndarray, labels: list[str]) -> ndarray:
    """SMPL's joints (people, 24, 3) from the heads of the bones."""
    joints = np.zeros((len(heads), len(PARENTS), 3))
    for joint, bone in HEADS.items():
        for side, name in SIDES.items() if "?" in joint else [("", "")]:
            joints[:, JOINT_NAMES.index(joint.replace("?", name))] = heads[:, labels.index(f"{bone}.{side}".strip("."))]
    hips, spine2 = joints[:, 1:3].mean(1), joints[:, 6]
    # MakeHuman's root lies behind the body and its lowest spine bone between the hips; SMPL's two are above them.
    joints[:, 0] = 0.65 * hips + 0.35 * spine2
    joints[:, 3] = 0.55 * joints[:, 0] + 0.45 * spine2
    return joints


def turn_between(start: ndarray, end: ndarray) -> ndarray:
    """The rotation vector of the shortest turn from one direction to another."""
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis)
    return axis / max(sine, 1e-12) * np.arctan2(sine, start @ end)


def straightening(joints: ndarray) -> ndarray:
    """Rotations (24, 3) that take a person from MakeHuman's A-pose to SMPL's T-pose; all relative to the parents.

    Arms and hands along x; legs turned in the frontal plane until hip to ankle leans as SMPL's does; feet kept flat.
    """
    angles = np.zeros((len(PARENTS), 3))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        chain = [JOINT_NAMES.index(f"{side}_{name}") for name in ("shoulder", "elbow", "wrist", "hand")]
        along = np.array([sign, 0.0, 0.0])
        before = np.eye(3)
        for joint, following in zip(chain, chain[1:], strict=False):
            # Seen from the parent, which is turned already; the collar is not.
            bone = joints[following] - joints[joint]
            turn = turn_between(bone, before.T @ along)
            angles[joint] = turn
            before = before @ matrix(turn)
        hip, ankle = (JOINT_NAMES.index(f"{side}_{name}") for name in ("hip", "ankle"))
        leg = joints[ankle] - joints[hip]
        angles[hip, 2] = sign * LEG_LEAN - np.arctan2(leg[0], -leg[1])
        angles[ankle] = -angles[hip]
    return angles


def matrix(rotation: ndarray) -> ndarray:
    """Rotation matrix of a rotation vector."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(rotation).as_matrix()


def into_t_pose(vertices: ndarray, joints: ndarray, weights: ndarray) -> tuple[ndarray, ndarray]:
    """One person's skin and joints in the T-pose, the pelvis in its place."""
    angles = torch.from_numpy(straightening(joints))
    zero = torch.zeros(3, dtype=torch.float64)
    transforms = joint_transforms(torch.from_numpy(joints), angles[0], angles[1:].flatten(), zero, PARENTS).numpy()
    blended = np.einsum("vj,jab->vab", weights, transforms)
    skin = np.einsum("vab,vb->va", blended[:, :3, :3], vertices) + blended[:, :3, 3]
    posed = np.einsum("jab,jb->ja", transforms[:, :3, :3], joints) + transforms[:, :3, 3]
    shift = np.array([0.0, PELVIS_HEIGHT, 0.0]) - posed[0]
    return skin + shift, posed + shift


def shape_space(skins: ndarray) -> tuple[ndarray, ndarray]:
    """Mean and principal directions (vertices, 3, 10), scaled so that coefficients have unit variance."""
    mean = skins.mean(0)
    deviations = (skins - mean).reshape(len(skins), -1)
    # Fewer people than coordinates: the small matrix of their inner products has the same spectrum.
    values, vectors = np.linalg.eigh(deviations @ deviations.T / (len(skins) - 1))
    chosen = np.argsort(values)[::-1][:BETAS]
    directions = deviations.T @ vectors[:, chosen] / np.sqrt(len(skins) - 1)
    print(f"{BETAS} directions hold {values[chosen].sum() / values.sum():.2%} of the variance")
    directions = directions.reshape(*mean.shape, BETAS)
    # Signs are free. A positive first coefficient is a shorter person; the others' largest entry is positive.
    for index in range(BETAS):
        direction = directions[..., index]
        sign = (
            -np.sign(direction[mean[:, 1].argmax(), 1])
            if index == 0
            else np.sign(direction.flat[abs(direction).argmax()])
        )
        directions[..., index] *= sign
    return mean, directions


def fit_regressor(skins: ndarray, joints: ndarray) -> ndarray:
    """Non-negative weights (24, vertices), summing to one, that give the joints of all people from nearby vertices."""
    mean = skins.mean(0)
    held_out = slice(0, len(skins) // 6)
    fitted = slice(len(skins) // 6, None)
    regressor = np.zeros((len(PARENTS), len(mean)))
    for joint in range(len(PARENTS)):
        place = joints[:, joint].mean(0)
        near = np.argsort(np.linalg.norm(mean - place, axis=1))[:REGRESSOR_VERTICES]
        rows = skins[fitted][:, near].transpose(0, 2, 1).reshape(-1, len(near))
        # A heavy last row makes the weights sum to one.
        system = np.concatenate([rows, np.full((1, len(near)), 100.0)])
        found, _ = nnls(system, np.append(joints[fitted, joint].ravel(), 100.0))
        regressor[joint, near] = found / found.sum()
    errors = np.linalg.norm(np.einsum("jv,nvc->njc", regressor, skins[held_out]) - joints[held_out], axis=-1)
    per_joint = errors.mean(0) * 1000
    worst = JOINT_NAMES[per_joint.argmax()]
    print(f"joints of held-out people: {per_joint.mean():.1f} mm off on average, {worst} {per_joint.max():.1f} mm")
    return regressor


def main() -> None:
    """Makes the body and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="the npz file to write")
    parser.add_argument("--people", type=int, default=240, help="random adults that span the shape space")
    parser.add_argument("--seed", type=int, default=0, help="of the random adults")
    args = parser.parse_args()

    model = load_anny()
    vertices, heads = draw_adults(model, args.people, args.seed)
    weights = merge_weights(model)
    people = [
        into_t_pose(skin, joints, weights)
        for skin, joints in zip(vertices, place_joints(heads, model.bone_labels), strict=True)
    ]
    skins, joints = np.stack([person[0] for person in people]), np.stack([person[1] for person in people])
    mean, directions = shape_space(skins)
    regressor = fit_regressor(skins, joints)
    # As SMPL's own files have it: the root's parent is the largest unsigned integer.
    tree = np.stack([np.array(PARENTS) % 2**32, np.arange(len(PARENTS))])
    np.savez_compressed(
        args.output,
        v_template=mean.astype(np.float32),
        shapedirs=directions.astype(np.float32),
        posedirs=np.zeros((*mean.shape, 9 * (len(PARENTS) - 1)), np.float32),
        J_regressor=regressor.astype(np.float32),
        weights=weights.astype(np.float32),
        kintree_table=tree,
        f=model.get_triangular_faces().numpy().astype(np.uint32),
        J=(regressor @ mean).astype(np.float32),
        bs_style="lbs",
        bs_type="lrotmin",
    )
    print(f"{args.output}: {len(mean)} vertices, height {np.ptp(mean[:, 1]):.3f} m")


if __name__ == "__main__":
    main()
