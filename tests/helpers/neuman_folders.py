"""A tiny scene, written exactly as NeuMan lays it out."""

import pickle

import cv2
import numpy as np
from scipy.spatial.transform import Rotation
from snapshot_folders import CENTRE, FOCAL, FRAMES, SIZE, picture, poses

SCALE = 2.7
"""Of COLMAP's world over metres, in the first frame; it grows a little from frame to frame."""


def _cameras():
    """World -> camera, COLMAP's scale: the phone moves a little and turns."""
    for frame in range(FRAMES):
        extrinsic = np.eye(4)
        extrinsic[:3, :3] = Rotation.from_rotvec([0.02 * frame, -0.03 * frame, 0.3]).as_matrix()
        extrinsic[:3, 3] = [0.1 * frame, 0.2, 0.05 * frame]
        yield extrinsic


def write_neuman(folder):
    """The person of `snapshot_folders`, seen as there by every camera."""
    for name in ("images", "segmentations", "sparse"):
        (folder / name).mkdir(parents=True)
    pose, transl = poses()
    alignments, lines = {}, []
    for frame, extrinsic in enumerate(_cameras()):
        image, mask = picture(frame)
        cv2.imwrite(str(folder / "images" / f"{frame:05d}.png"), image)
        cv2.imwrite(str(folder / "segmentations" / f"{frame:05d}.png"), 255 - mask * 255)
        scale, turn = SCALE * (1 + 0.01 * frame), extrinsic[:3, :3].T
        # In the camera, metres: x + transl. In COLMAP's world: turn (scale (x + transl) - away).
        matrix, shift = scale * turn, turn @ (scale * transl[frame] - extrinsic[:3, 3])
        alignments[f"{frame:05d}.png"] = np.concatenate([matrix.T, shift[None]])
        x, y, z, w = Rotation.from_matrix(extrinsic[:3, :3]).as_quat()
        words = [frame + 1, w, x, y, z, *extrinsic[:3, 3], 1, f"{frame:05d}.png"]
        lines += [" ".join(map(str, words)), "1.0 2.0 -1"]
    (folder / "sparse" / "images.txt").write_text("# Image list\n" + "\n".join(lines) + "\n")
    centre = f"{CENTRE[0] + 0.5} {CENTRE[1] + 0.5}"
    (folder / "sparse" / "cameras.txt").write_text(f"# Camera list\n1 PINHOLE {SIZE} {SIZE} {FOCAL} {FOCAL} {centre}\n")
    np.save(folder / "alignments.npy", alignments, allow_pickle=True)
    output = {1: {"pose": list(pose), "betas": [np.zeros(10)] * FRAMES}}
    (folder / "smpl_output_optimized.pkl").write_bytes(pickle.dumps(output))
    for name, frames in (("train", (0, 1, 3, 4, 5)), ("val", (2,)), ("test", (6, 7))):
        (folder / f"{name}_split.txt").write_text("\n".join(f"{frame:05d}.png" for frame in frames))
    return folder
