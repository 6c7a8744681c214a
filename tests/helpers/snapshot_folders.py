"""Tiny subjects, written exactly as PeopleSnapshot and InstantAvatar lay them out."""

import pickle
from pathlib import Path

import av
import cv2
import h5py
import numpy as np

SIZE = 48
FRAMES = 8
FOCAL = 60.0
CENTRE = (23.0, 24.5)


def poses(frames=FRAMES):
    """Standing upright before the camera (turned by pi about x), turning a little with each frame."""
    pose = np.zeros((frames, 72), np.float32)
    pose[:, 0] = np.pi
    pose[:, 3:] = np.random.default_rng(0).normal(0, 0.1, (frames, 69))
    pose[:, 3 * 16 + 2], pose[:, 3 * 17 + 2] = -1.2, 1.2  # arms down: so the body fits into the mask
    transl = np.tile(np.float32([0.1, 0.3, 3.0]), (frames, 1)) + np.linspace(0, 0.1, frames, dtype=np.float32)[:, None]
    return pose, transl


def picture(frame):
    """A rectangle of a colour of its own on blue, BGR, and its mask."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[8:40, 16:32] = 1
    image = np.full((SIZE, SIZE, 3), (255, 0, 0), np.uint8)
    image[mask > 0] = (0, 30 * frame % 256, 200)
    return image, mask


def write_video(path: Path, frames=FRAMES, size=SIZE):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = size
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for frame in range(frames):
            image = cv2.resize(picture(frame)[0], (size, size))[..., ::-1]
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def write_raw(folder: Path, distortion=(0, 0, 0, 0, 0)):
    folder.mkdir(parents=True)
    write_video(folder / f"{folder.name}.mp4")
    camera = {
        "camera_t": np.zeros(3),
        "camera_rt": np.zeros(3),
        "camera_f": np.full(2, FOCAL),
        "camera_c": np.array(CENTRE),
        "camera_k": np.array(distortion, float),
        "width": SIZE,
        "height": SIZE,
    }
    (folder / "camera.pkl").write_bytes(pickle.dumps(camera, protocol=2))
    pose, transl = poses()
    with h5py.File(folder / "reconstructed_poses.hdf5", "w") as file:
        file.update({"pose": pose, "trans": transl, "betas": np.zeros(10, np.float32)})
    with h5py.File(folder / "masks.hdf5", "w") as file:
        masks = np.stack([picture(frame)[1] for frame in range(FRAMES)]).astype(np.int8)
        file.create_dataset("masks", data=masks, compression="lzf")
    return folder


def write_preprocessed(folder: Path, extrinsic=None):
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for frame in range(FRAMES):
        image, mask = picture(frame)
        cv2.imwrite(str(folder / "images" / f"image_{frame:04d}.png"), image)
        np.save(folder / "masks" / f"mask_{frame:04d}.npy", mask)
    intrinsic = np.array([[FOCAL, 0, CENTRE[0]], [0, FOCAL, CENTRE[1]], [0, 0, 1]])
    extrinsic = np.eye(4) if extrinsic is None else extrinsic
    np.savez(folder / "cameras.npz", intrinsic=intrinsic, extrinsic=extrinsic, height=SIZE, width=SIZE)
    pose, transl = poses()
    np.savez(folder / "poses.npz", betas=np.zeros(10, np.float32), thetas=pose, transl=transl)
    return folder
