"""Writes the demo as files in PeopleSnapshot's format, all or nothing."""

from __future__ import annotations

import json
import pickle
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import av
import h5py
import numpy as np
from jaxtyping import Float, UInt8

from nerfstudio_avatars.bodies.body_model import BodyState
from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.demo.person import Camera, DemoPerson
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import write_npz
from nerfstudio_avatars.media.picture_files import write_png
from nerfstudio_avatars.whole_files import whole_folder

MARKER = "nerfstudio-avatars-demo.txt"
"""Marks folders written by the demo; only these may be replaced."""
_COCO = (None, 12, 17, 19, 21, 16, 18, 20, 2, 5, 8, 1, 4, 7, None, None, None, None)
"""SMPL joint for each of OpenPose's 18 _COCO joints; nose, eyes and ears are points on the head."""
_FACE_POINTS = {0: (0.0, 0.402, 0.165), 14: (-0.031, 0.437, 0.14), 15: (0.031, 0.437, 0.14), 16: (-0.08, 0.42, 0.05),
               17: (0.08, 0.42, 0.05)}  # fmt: skip
"""Nose, eyes and ears of _COCO on the average head in T-pose, in metres."""
ENCODER = {
    "crf": "4",
    "preset": "veryfast",
    "x264-params": "threads=1:lookahead-threads=1:sync-lookahead=0:rc-lookahead=0",
}
"""Nearly lossless, with full colour resolution, so that patterns keep their edges. One thread and no look-ahead,
because the same pictures otherwise gave different videos."""


class DemoFolder:
    """The folder of a subject while it is written: it takes its name only once it is complete."""

    def __init__(self, out: Path, subject: str, person: DemoPerson, motion: BodySequence, camera: Camera) -> None:
        self.final = out / subject
        if self.final.exists() and not (self.final / MARKER).exists():
            raise DataError(
                self.final,
                "a folder without a demo sequence",
                "a new name, or an earlier demo",
                "choose another folder",
            )
        self.subject, self.person, self.motion, self.camera = subject, person, motion, camera
        count = len(motion)
        self.train = list(range(0, count, 2))
        self.test = list(range(1, count, 8))
        self.val = list(range(5, count, 40))
        self._novel: list[tuple[BodyState, Camera]] = []
        self._keypoints = np.zeros((count, 54))
        self._masks = np.zeros((count, camera.height, camera.width), np.uint8)

    def __enter__(self) -> DemoFolder:
        with ExitStack() as stack:
            self.partial = stack.enter_context(whole_folder(self.final))
            (self.partial / "ground_truth").mkdir()
            (self.partial / "novel_poses" / "images").mkdir(parents=True)
            self._video = stack.enter_context(av.open(str(self.partial / f"{self.subject}.mp4"), "w"))
            self._unfinished = stack.pop_all()
        self._stream = self._video.add_stream("libx264", rate=30, options=ENCODER)
        self._stream.width, self._stream.height, self._stream.pix_fmt = self.camera.width, self.camera.height, "yuv444p"
        self._stream.thread_count = 1
        self._room = studio(self.camera.width, self.camera.height)
        return self

    def add_frame(self, frame: int, rgba: UInt8[np.ndarray, "h w 4"]) -> None:
        """Adds the next frame of the video, with all its data."""
        alpha = rgba[..., 3:] / 255
        picture = (rgba[..., :3] * alpha + self._room * (1 - alpha)).round().astype(np.uint8)
        for packet in self._stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
            self._video.mux(packet)
        self._masks[frame] = rgba[..., 3]
        self._keypoints[frame] = keypoints(self.person, self.motion.state(frame), self.camera).ravel()
        if frame in self.test or frame in self.val:
            write_png(self.partial / "ground_truth" / f"image_{frame:04d}.png", rgba)

    def add_novel_pose(self, index: int, state: BodyState, camera: Camera, rgba: UInt8[np.ndarray, "h w 4"]) -> None:
        """Adds a held-out pose."""
        self._novel.append((state, camera))
        write_png(self.partial / "novel_poses" / "images" / f"image_{index:04d}.png", rgba)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._unfinished.__exit__(kind, error, trace)
            return
        with self._unfinished:
            for packet in self._stream.encode():
                self._video.mux(packet)
            self._write_tables()

    def _write_tables(self) -> None:
        folder, motion, camera = self.partial, self.motion, self.camera
        betas = motion.betas.numpy().astype(np.float64)
        with h5py.File(folder / "masks.hdf5", "w", track_order=False) as file:
            file.create_dataset(
                "masks", data=(self._masks >= 128).astype(np.int8), compression="lzf", track_times=False
            )
            file.create_dataset("soft_masks", data=self._masks, compression="lzf", track_times=False)
        with h5py.File(folder / "keypoints.hdf5", "w") as file:
            file.create_dataset("keypoints", data=self._keypoints, track_times=False)
        with h5py.File(folder / "reconstructed_poses.hdf5", "w") as file:
            pose = np.concatenate([motion.global_orient.numpy(), motion.body_pose.numpy()], 1).astype(np.float64)
            file.create_dataset("pose", data=pose, track_times=False)
            file.create_dataset("trans", data=motion.transl.numpy().astype(np.float64), track_times=False)
            file.create_dataset("betas", data=betas, track_times=False)
        k = camera.intrinsic
        lens = {
            "camera_t": np.zeros(3), "camera_rt": np.zeros(3), "camera_f": np.array([k[0, 0], k[1, 1]]),
            "camera_c": np.array([k[0, 2], k[1, 2]]), "camera_k": np.zeros(5),
            "width": camera.width, "height": camera.height,
        }  # fmt: skip
        (folder / "camera.pkl").write_bytes(pickle.dumps(lens, protocol=2))
        consensus = {"betas": betas, "v_personal": self.person.clothes}
        (folder / "consensus.pkl").write_bytes(pickle.dumps(consensus, protocol=2))
        splits = {"train": self.train, "val": self.val, "test": self.test, "gender": "neutral", "body": "standin"}
        (folder / "splits.json").write_text(json.dumps(splits))
        novel = folder / "novel_poses"
        write_npz(
            novel / "cameras.npz",
            intrinsic=np.stack([c.intrinsic for _, c in self._novel]),
            extrinsic=np.stack([c.extrinsic for _, c in self._novel]),
            height=camera.height,
            width=camera.width,
        )
        fields = ("global_orient", "body_pose", "transl")
        write_npz(
            novel / "poses.npz",
            betas=betas.astype(np.float32)[None],
            **{name: np.stack([getattr(state, name).numpy() for state, _ in self._novel]) for name in fields},
        )
        (folder / MARKER).write_text(
            "Drawn by `ns-avatar demo-data` from the CC0 stand-in body. PeopleSnapshot's format, and beside it:\n"
            "soft masks (masks.hdf5:soft_masks), splits.json, exact held-out pictures (ground_truth), held-out poses.\n"
        )


def keypoints(person: DemoPerson, state: BodyState, camera: Camera) -> Float[np.ndarray, "18 3"]:
    """OpenPose's _COCO joints (x, y in pixels, confidence), from the joints of the body."""
    posed = person.body.pose(state)
    head = posed.joint_transforms[15].double().numpy()
    points = np.zeros((18, 3))
    for row, joint in enumerate(_COCO):
        points[row] = (
            posed.joints[joint].numpy() if joint is not None else head[:3, :3] @ _FACE_POINTS[row] + head[:3, 3]
        )
    points = points @ camera.extrinsic[:3, :3].T + camera.extrinsic[:3, 3]
    projected = points @ camera.intrinsic.T
    return np.concatenate([projected[:, :2] / projected[:, 2:], np.ones((18, 1))], 1)


def studio(width: int, height: int) -> Float[np.ndarray, "height width 3"]:
    """A plain room: a wall that darkens towards its edges, and a wooden floor."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    wall = np.array([196, 202, 204]) * (1.05 - 0.35 * ((x - 0.5) ** 2 + (y - 0.4) ** 2))[..., None]
    planks = 1 + 0.06 * np.sin(2 * np.pi * (x - 0.5) / np.maximum(y - 0.7, 0.02) * 1.5)
    floor = np.array([150, 116, 86]) * (0.75 + 0.5 * (y - 0.8))[..., None] * planks[..., None]
    return np.where((y > 0.84)[..., None], floor, wall).clip(0, 255)
