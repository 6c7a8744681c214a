"""Files that users reported, in `tests/cases`: each is read as the motion that it holds, or named for what it is.

The motion is one and the same in all files that hold rotations: `matrices_in_ia_fields/poses_24_3.npz` has it as plain
axis-angle vectors, and the BVH files have another one, on several skeletons.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfstudio_avatars.bodies.smpl_files import read_smpl
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.motion.readers import read_motion

CASES = Path(__file__).parents[1] / "cases"

# File: the rate, the axis that points up, the persons and what has to be said.
ROTATIONS = {
    "amass_rate/bytes_gender.npz": (120, "y", ()),
    "amass_rate/no_rate_at_all.npz": (30, "y", ("no frame rate",)),
    "poses63/f22.npz": (30, "y", ("no frame rate",)),
    "poses63/f24.npz": (30, "y", ("no frame rate",)),
    "poses63/f46.npz": (30, "y", ("no frame rate",)),
    "matrices_in_ia_fields/global_orient_body_pose.npz": (30, "y", ("from matrices", "no frame rate")),
    "matrices_in_ia_fields/poses_24_3.npz": (30, "y", ("no frame rate",)),
    "matrices_in_ia_fields/poses_24_3_3.npz": (30, "y", ("from matrices", "no frame rate")),
    "matrices_in_ia_fields/thetas_no_trans.npz": (30, "y", ("stays in place", "no frame rate")),
    "slahmr/a_000000_world_results.npz": (30, "y", ("no frame rate", "betas")),
    "slahmr/two_people_world_results.npz": (30, "y", ("person 0 of", "no frame rate", "betas")),
    "mdm/sample00_rep00_smpl_params.npy": (20, "y", ("no frame rate",)),
}


def _truth():
    with np.load(CASES / "matrices_in_ia_fields/poses_24_3.npz") as file:
        return file["poses"].reshape(-1, 72), file["trans"]


@pytest.mark.parametrize("name", ROTATIONS)
def test_rotations_of_every_width_and_kind_are_the_motions(name):
    fps, up, said = ROTATIONS[name]
    motion = read_motion(CASES / name)
    assert (motion.sequence.fps, motion.up) == (fps, up)
    for one in said:
        assert any(one in note for note in motion.notes), motion.notes
    poses, trans = _truth()
    # One file goes on with the motion's beginning.
    count = min(len(motion.sequence), len(poses))
    found = torch.cat([motion.sequence.global_orient, motion.sequence.body_pose], 1)[:count]
    np.testing.assert_allclose(found, poses[:count], atol=2e-6)
    places = np.zeros((count, 3)) if "no_trans" in name else trans[:count]
    np.testing.assert_allclose(motion.sequence.transl[:count], places, atol=1e-6)


@pytest.mark.parametrize("name", ["poses63/f22.npz", "poses63/f24.npz", "poses63/f46.npz"])
def test_the_number_of_frames_is_the_files_whatever_their_widths_product(name):
    assert len(read_motion(CASES / name).sequence) == int(Path(name).stem[1:])


def test_the_second_person_of_a_file_can_be_asked_for():
    _, trans = _truth()
    second = read_motion(CASES / "slahmr/two_people_world_results.npz", person="1").sequence
    np.testing.assert_allclose(second.transl.diff(dim=0), np.diff(trans, axis=0), atol=1e-6)
    assert np.abs(second.transl - trans).max() > 0.9
    first, other = (read_motion(CASES / "bvh_two_people/a.bvh", person=name).sequence for name in "01")
    torch.testing.assert_close(other.body_pose, first.body_pose)
    assert (other.transl - first.transl)[:, 0].min() > 1


POSITIONS = {
    "mdm/humanml_263.npy": ("HumanML3D's features", "approximate"),
    "mdm/humanml_joints.npy": ("approximate",),
    "mdm/results.npy": ("person 0 of 0 (30 frames), 1 (30 frames), 2 (30 frames)", "approximate"),
}


@pytest.mark.parametrize("name", POSITIONS)
def test_joints_alone_are_read_and_said_to_be_approximate_and_noise_to_be_no_body(name):
    """These files hold random numbers, so bones that change their lengths."""
    motion = read_motion(CASES / name)
    assert (len(motion.sequence), motion.sequence.fps, motion.up) == (30, 20, "y")
    assert torch.isfinite(motion.sequence.body_pose).all()
    for one in (*POSITIONS[name], "bone lengths change"):
        assert any(one in note for note in motion.notes), motion.notes


SKELETONS = {
    "bvh_encoding/cr_only.bvh": (30, None),
    "bvh_encoding/latin1_name.bvh": (30, None),
    "bvh_encoding/utf16.bvh": (30, None),
    "bvh_encoding/utf8bom_crlf.bvh": (30, None),
    "bvh_frame_time/fps_instead.bvh": (30, "`Frame Time: 30`"),
    "bvh_frame_time/ms.bvh": (30, "milliseconds"),
    "bvh_frame_time/slow24.bvh": (24, None),
    "bvh_frame_time/zero.bvh": (30, "--source-fps"),
    "bvh_makehuman_default/a.bvh": (30, "left_knee = lowerleg01.L"),
    "bvh_radians/a.bvh": (30, "radians"),
    "bvh_rigify_metarig/a.bvh": (30, "pelvis = spine"),
    "bvh_soma_gemx/a.bvh": (30, "left_hip = LeftLeg, left_knee = LeftShin"),
    "bvh_two_people/a.bvh": (30, "--person"),
}
# Of SMPL's joints without the pelvis: their names in the plainest file.
LIMBS = {0: "LeftUpLeg", 1: "RightUpLeg", 3: "LeftLeg", 4: "RightLeg", 17: "LeftForeArm", 18: "RightForeArm"}


def _columns(path):
    """Joints and angles of a BVH file with three rotations a joint, by hand: {joint: (frames, 3)} in degrees."""
    lines = path.read_bytes().decode("utf-8-sig").splitlines()
    start = next(row for row, line in enumerate(lines) if line.startswith("Frame Time"))
    names, found, at = [line.split() for line in lines[:start]], {}, 0
    table = np.array([[float(word) for word in line.split()] for line in lines[start + 1 :] if line.strip()])
    joint = ""
    for words in names:
        if words and words[0] in ("ROOT", "JOINT"):
            joint = words[1]
        elif words and words[0] == "CHANNELS":
            count = int(words[1])
            found[joint] = table[:, at : at + count][:, -3:]
            at += count
    return found


@pytest.mark.parametrize("name", SKELETONS)
def test_the_same_motion_is_found_on_every_skeleton_in_every_spelling(name):
    fps, said = SKELETONS[name]
    motion = read_motion(CASES / name)
    assert (motion.sequence.fps, motion.up) == (fps, "y")
    assert said is None or any(said in note for note in motion.notes), motion.notes
    pose = motion.sequence.body_pose.reshape(-1, 23, 3).double().numpy()
    truth = _columns(CASES / "bvh_encoding/utf8bom_crlf.bvh")
    for joint, theirs in LIMBS.items():
        # However the skeletons' bones lie, a joint turns as far from a frame to the next.
        ours = Rotation.from_rotvec(pose[:, joint])
        file = Rotation.from_euler("ZXY", truth[theirs], degrees=True)
        far = [(turns[:-1].inv() * turns[1:]).magnitude() for turns in (ours, file)]
        np.testing.assert_allclose(far[0], far[1], atol=1e-3, err_msg=theirs)


FOREIGN = {
    "01_01.amc": ("AMC", "BVH"),
    "a.usda": ("USD", "Blender"),
    "dance.vmd": ("VMD", "mmd_tools"),
    "m.csv": ("CSV", "BVH or glTF"),
    "walk.dae": ("COLLADA", "Blender"),
    "walk.fbx": ("FBX", "glTF or BVH in Blender"),
    "x.c3d": ("C3D", "markers"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_formats_that_are_not_read_are_named_with_the_way_out(name):
    with pytest.raises(DataError) as error:
        read_motion(CASES / "fbx_and_others" / name)
    assert FOREIGN[name][0] in error.value.found and FOREIGN[name][1] in error.value.fix


DOWNLOADS = {
    "SMPL_FEMALE.pkl": "zeros",
    "SMPL_MALE.pkl": "web page",
    "SMPL_NEUTRAL.pkl": "Git LFS pointer",
    "zeros_bytes.pkl": "empty file",
    "motion_lfs.npz": "Git LFS pointer",
}


@pytest.mark.parametrize("name", DOWNLOADS)
@pytest.mark.parametrize("read", [read_motion, read_smpl])
def test_what_came_in_place_of_the_file_is_named(name, read):
    with pytest.raises(DataError, match=rf"(?s){name}.*{DOWNLOADS[name]}"):
        read(CASES / "smpl_not_a_model" / name)


def test_every_file_has_its_expectation():
    foreign = {f"fbx_and_others/{name}" for name in FOREIGN} | {f"smpl_not_a_model/{name}" for name in DOWNLOADS}
    told = {*ROTATIONS, *POSITIONS, *SKELETONS, *foreign}
    folders = {CASES / name.partition("/")[0] for name in told}
    assert told == {path.relative_to(CASES).as_posix() for folder in folders for path in folder.iterdir()}
