"""Small files that claim to be large, or become it: refused before memory is taken, or read without what is huge."""

import io
import json
import pickle
import struct
import zipfile
import zlib

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch
from damage import bounded, told
from snapshot_folders import write_preprocessed, write_raw

from nerfstudio_avatars.avatars.cameras import read_camera_file
from nerfstudio_avatars.avatars.identity import load_identity
from nerfstudio_avatars.avatars.run import our_methods
from nerfstudio_avatars.bodies.safe_pickle import load_pickle_safely
from nerfstudio_avatars.bodies.smpl_files import read_smpl
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig, read_scene
from nerfstudio_avatars.instant_avatar.data.surreal_clip import read_clip
from nerfstudio_avatars.media.mask_files import read_mask
from nerfstudio_avatars.motion import read_motion
from nerfstudio_avatars.nerfstudio_glue.config_file import read_trainer_config

pytestmark = pytest.mark.slow

GIGABYTE = 1 << 30


# Pickles --------------------------------------------------------------------------------------------------------------


def _lists_of_lists(levels, width):
    """Each list shows the one before so many times: width ** levels values in all."""
    value = [0.0]
    for _ in range(levels):
        value = [value] * width
    return pickle.dumps(value, 2)


def _one_array_many_times():
    array = np.zeros(100_000)
    return pickle.dumps([array] * 100_000, 2)


def _same_bytes_many_times():
    """Two thousand arrays that lie over the same two million bytes, which are kept under 0."""
    head = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    again = head + b"(K\x01J\x90\xd0\x03\x00\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87RK\x00h\x00tb"
    data = b"\x80\x02X" + struct.pack("<I", 2_000_000) + b"0" * 2_000_000 + b"q\x000"
    return data + b"](" + again * 2000 + b"e."


def _sparse():
    return pickle.dumps({"a": scipy.sparse.csc_matrix((20_000, 20_000))}, 2)


def _expanded_tensor():
    """numpy's and joblib's pickles of tensors; this one says that it is four hundred million times its one number."""
    file = io.BytesIO()
    np.save(file, np.array({"poses": torch.zeros(1).expand(400_000_000)}, dtype=object))
    return file.getvalue()


PICKLES = {
    "an index of two thousand million": b"\x80\x02}r\xff\xff\xff\x7f.",
    "bytes of a million million": b"\x80\x05\x8e" + struct.pack("<Q", 10**12) + b"abc.",
    "text of four thousand million": b"\x80\x02X\xff\xff\xff\xff" + b"abc.",
    "a frame of a million million": b"\x80\x04\x95" + struct.pack("<Q", 10**12) + b"N.",
    "two million lists": b"\x80\x02(" + b"]" * 2_000_000 + b"l.",
    "a million sets": b"\x80\x04(" + b"\x8f" * 1_000_000 + b"l.",
    "ten lists of ten, thirty times": _lists_of_lists(30, 10),
    "a list of itself": b"\x80\x02]q\x00h\x00a.",
    "an array a hundred thousand times": _one_array_many_times(),
    "arrays of the same bytes": _same_bytes_many_times(),
    "a sparse matrix": _sparse(),
    "an expanded tensor": _expanded_tensor(),
}


LITTLE = ("an index of two thousand million", "a frame of a million million")
"""An empty dictionary and nothing, which a pickle may hold."""


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("read", [read_motion, load_pickle_safely, read_smpl])
def test_pickles(tmp_path, name, read, unchecked_types):
    (tmp_path / "a.pkl").write_bytes(PICKLES[name])
    with bounded():
        try:
            read(tmp_path / "a.pkl")
        except UserError as error:
            told(error)
        else:
            assert name in LITTLE


# Archives -------------------------------------------------------------------------------------------------------------


def _zeros(size):
    """Deflated, without going through them all."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (size >> 20) + b"\x03\x00"


def _npy(shape, kind="<f8"):
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def write_bomb(path, name, shape, small=()):
    """An npz of which one array is zeros of any size; the file has a thousandth of it."""
    with zipfile.ZipFile(path, "w") as archive:
        for other, array in dict(small).items():
            file = io.BytesIO()
            np.save(file, array)
            archive.writestr(f"{other}.npy", file.getvalue())
    header, size = _npy(shape), 8 * int(np.prod(shape))
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = packed.compress(header) + packed.flush(zlib.Z_FULL_FLUSH) + _zeros(size)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{name}.npy", content)
        info = archive.getinfo(f"{name}.npy")
        info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, len(header) + size
    whole = bytearray(path.read_bytes())
    # The local header says so too.
    struct.pack_into("<H", whole, info.header_offset + 8, zipfile.ZIP_DEFLATED)
    path.write_bytes(whole)
    return path


HUGE = (400_000, 1000)
"""Three gigabytes."""
NPZ = {
    "a motion": (read_motion, "poses", {"trans": np.zeros((3, 3))}),
    "an identity": (load_identity, "cube", {"rotation": np.eye(3)[None], "translation": np.zeros((1, 3))}),
    "a body": (read_smpl, "v_template", {}),
}


@pytest.mark.parametrize("name", NPZ)
def test_arrays_that_unpack_to_gigabytes(tmp_path, name):
    read, field, small = NPZ[name]
    path = write_bomb(tmp_path / "a.npz", field, HUGE, small)
    assert path.stat().st_size < 10_000_000
    with bounded(), pytest.raises(UserError) as error:
        read(path)
    told(error.value)


def test_members_that_are_not_needed_are_not_read(tmp_path):
    small = {"poses": np.zeros((3, 72)), "trans": np.zeros((3, 3))}
    with bounded():
        assert len(read_motion(write_bomb(tmp_path / "a.npz", "vertices", HUGE, small)).sequence) == 3


def test_cameras_that_unpack_to_gigabytes_or_see_a_million_million_pixels(tmp_path):
    folder = write_preprocessed(tmp_path / "one")
    with np.load(folder / "cameras.npz") as file:
        sound = dict(file)
    for height in (10**15, "1000000000000000", np.float64(1e15), 2**63 - 1):
        np.savez(folder / "cameras.npz", **sound | {"height": height})
        with bounded(), pytest.raises(UserError, match=r"height|1000000000000000|922337"):
            read_scene(PeopleSnapshotDataParserConfig(data=folder, body="standin"))
    write_bomb(folder / "cameras.npz", "intrinsic", HUGE, {"extrinsic": np.eye(4)})
    with bounded(), pytest.raises(UserError, match="limit"):
        read_scene(PeopleSnapshotDataParserConfig(data=folder, body="standin"))


def test_poses_and_masks_in_hdf5(tmp_path):
    for name in ("pose", "masks"):
        folder = write_raw(tmp_path / name)
        with h5py.File(folder / ("masks.hdf5" if name == "masks" else "reconstructed_poses.hdf5"), "a") as file:
            del file[name]
            shape = (10**5, 10**4, 10**4) if name == "masks" else (10**7, 72)
            file.create_dataset(name, shape, "u1" if name == "masks" else "f8", compression="gzip")
        with bounded(), pytest.raises(UserError, match="limit"):
            read_scene(PeopleSnapshotDataParserConfig(data=folder, body="standin"))


@pytest.mark.parametrize("packed", [True, False])
def test_what_a_compressed_pickle_or_an_array_claims(tmp_path, packed):
    # zlib's header and an end without a checksum, which nobody gets to.
    content = b"\x78\xda" + _zeros(GIGABYTE) if packed else _npy((10**6, 22, 3)) + bytes(100)
    (tmp_path / "a.pkl").write_bytes(content)
    with bounded(), pytest.raises(UserError, match="unpacks to more|claims"):
        read_motion(tmp_path / "a.pkl")


@pytest.mark.parametrize("way", ["compressed", "expanded"])
def test_files_of_torch(tmp_path, way):
    path = tmp_path / "a.pt"
    poses = torch.zeros(1).expand(400_000_000) if way == "expanded" else torch.zeros(1000, 72)
    torch.save({"poses": poses, "trans": torch.zeros(1000, 3)}, path)
    if way == "compressed":
        with zipfile.ZipFile(path) as archive:
            members = {one.filename: archive.read(one) for one in archive.infolist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    for read in (read_motion, read_smpl):
        with bounded(), pytest.raises(UserError) as error:
            read(path)
        told(error.value)


def test_matlabs_arrays(tmp_path):
    scipy.io.savemat(tmp_path / "a_c0001_info.mat", {"pose": np.ones((72, 3))})
    content = bytearray((tmp_path / "a_c0001_info.mat").read_bytes())
    place = content.index(struct.pack("<ii", 72, 3))
    content[place : place + 8] = struct.pack("<ii", 72, 10**9)
    (tmp_path / "a_c0001_info.mat").write_bytes(bytes(content))
    with bounded(), pytest.raises(UserError, match="limit is"):
        read_clip(tmp_path / "a_c0001_info.mat")


def test_masks_as_arrays(tmp_path):
    (tmp_path / "a.npy").write_bytes(_npy((10**6, 10**6), "|u1") + bytes(100))
    with bounded(), pytest.raises(UserError) as error:
        read_mask(tmp_path / "a.npy")
    told(error.value)


# Text -----------------------------------------------------------------------------------------------------------------


def _still_bvh(joints, frames):
    nodes = "".join(f"JOINT n{n}\n{{\nOFFSET 0 1 0\nEnd Site\n{{\nOFFSET 0 1 0\n}}\n}}\n" for n in range(joints))
    channels = "CHANNELS 3 Xrotation Yrotation Zrotation"
    tree = f"HIERARCHY\nROOT a\n{{\nOFFSET 0 0 0\n{channels}\n{nodes}}}\n"
    return tree + f"MOTION\nFrames: {frames}\nFrame Time: 0.03\n" + "1 2 3\n" * frames


def _gltf(animation, buffer, nodes):
    names = [
        "Hips",
        *(side + part for side in ("Left", "Right") for part in ("UpLeg", "Leg", "Foot", "Arm", "ForeArm")),
    ]
    every = [{"name": name} for name in names] + [{}] * nodes
    every[0] = {"name": "Hips", "children": list(range(1, len(every)))}
    import base64

    content = {"asset": {"version": "2.0"}, "nodes": every, **animation}
    uri = "data:;base64," + base64.b64encode(buffer).decode()
    return json.dumps(content | {"buffers": [{"byteLength": len(buffer), "uri": uri}]})


def _long_gltf():
    """Two keys, eight hundred seconds apart, for eleven hundred nodes."""
    buffer = struct.pack("<ff", 0, 800) + struct.pack("<8f", 0, 0, 0, 1, 0, 0, 0, 1)
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": 2, "type": "SCALAR"},
        {"bufferView": 1, "componentType": 5126, "count": 2, "type": "VEC4"},
    ]
    views = [{"buffer": 0, "byteLength": 8}, {"buffer": 0, "byteOffset": 8, "byteLength": 32}]
    channels = [{"sampler": 0, "target": {"node": 1, "path": "rotation"}}]
    animation = {"channels": channels, "samplers": [{"input": 0, "output": 1}]}
    return _gltf({"animations": [animation], "accessors": accessors, "bufferViews": views}, buffer, 1100)


def _many_accessors():
    """A thousand accessors over the same four megabytes of bytes, each of which becomes eight."""
    accessors = [{"bufferView": 0, "componentType": 5121, "count": 1 << 22, "type": "SCALAR"}] * 1000
    channels = [{"sampler": 0, "target": {"node": 1, "path": "rotation"}}]
    samplers = [{"input": number, "output": number} for number in range(1000)]
    views = [{"buffer": 0, "byteLength": 1 << 22}]
    animations = [{"channels": channels, "samplers": samplers}]
    return _gltf({"animations": animations, "accessors": accessors, "bufferViews": views}, bytes(1 << 22), 0)


TEXTS = {
    "a.bvh": lambda: _still_bvh(200, 30_000),
    "long.gltf": _long_gltf,
    "shared.gltf": _many_accessors,
}


@pytest.mark.parametrize("name", TEXTS)
def test_skeletons(tmp_path, name):
    (tmp_path / name).write_text(TEXTS[name]())
    with bounded(), pytest.raises(UserError) as error:
        read_motion(tmp_path / name)
    told(error.value)


def test_camera_paths(tmp_path):
    camera = {"camera_to_world": np.eye(4).ravel().tolist(), "fov": 50, "aspect": 1}
    sound = {
        "camera_type": "perspective",
        "render_height": 96,
        "render_width": 96,
        "seconds": 1,
        "camera_path": [camera],
    }
    for changed in (
        {"render_height": 1e7, "render_width": 1e7},
        {"render_height": 10**400},
        {"seconds": 1e30},
        {"camera_path": [camera | {"fov": 180}]},
        {"camera_path": [camera | {"fov": 1e30}]},
        {"camera_path": [camera | {"camera_to_world": [1e30] * 16}]},
    ):
        (tmp_path / "a.json").write_text(json.dumps(sound | changed))
        with bounded(), pytest.raises(UserError) as error:
            read_camera_file(tmp_path / "a.json")
        told(error.value)


def test_numbers_and_aliases_in_a_runs_configuration(tmp_path):
    start = "!!python/object:nerfstudio_avatars.nerfstudio_glue.trainer.AvatarTrainerConfig\n"
    our_methods()
    laughs = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    for text in (
        f"{start}max_num_iterations: {'9' * 100_000}\n",
        f"{start}max_num_iterations: {'59:' * 60_000}59\n",
        f"{start}max_num_iterations: 0b{'1' * 200_000}\n",
        f"{start}project_name: &a0 [x, x, x]\n{laughs}",
    ):
        (tmp_path / "config.yml").write_text(text)
        with bounded(), pytest.raises(UserError) as error:
            read_trainer_config(tmp_path / "config.yml", our_methods())
        told(error.value)
