"""Face embeddings: how the shipped weights are read, and whom they take for the same person."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfstudio_avatars.metrics.face_identity import (
    CHIP_LANDMARKS,
    CHIP_PLACES,
    SAME_PERSON,
    embed_chips,
    embed_faces,
    face_chip,
    recognition_weights,
)
from nerfstudio_avatars.metrics.face_landmarks import FaceLandmarks
from nerfstudio_avatars.tflite import runtime_is_installed

ROOT = Path(__file__).parents[2]
HEADS = sorted(path for folder in (ROOT, ROOT.parent) for path in (folder / "shared" / "data" / "heads").glob("*.mp4"))

needs_runtime = pytest.mark.skipif(not runtime_is_installed(), reason="the extra `faces` is not installed")


def _manifest(folder, content):
    weights = [
        {"name": "a/filters", "shape": [1, 2, 3, 1], "dtype": "float32"},
        {"name": "b", "shape": [2], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -3.0}},
    ]
    (folder / "weights.bin").write_bytes(content)
    path = folder / "manifest.json"
    path.write_text(json.dumps([{"weights": weights, "paths": ["weights.bin"]}]))
    return path


def test_a_manifests_tensors_are_read(tmp_path):
    filters = np.arange(6, dtype="<f4")
    weights = recognition_weights(_manifest(tmp_path, filters.tobytes() + bytes([0, 200])))
    torch.testing.assert_close(weights["b"], torch.tensor([-3.0, 97.0]))
    # Stored rows, columns, in, out; torch wants out, in, rows, columns.
    assert weights["a/filters"].shape == (1, 3, 1, 2)
    torch.testing.assert_close(weights["a/filters"][0, :, 0, 1], torch.tensor([3.0, 4.0, 5.0]))


def test_a_file_cut_short_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"weights.bin has 25 bytes, and manifest.json lists 26"):
        recognition_weights(_manifest(tmp_path, bytes(25)))


def test_the_shipped_network_has_dlibs_size_and_takes_faces_one_by_one():
    weights = recognition_weights()
    assert sum(name.endswith("filters") for name in weights) == 29
    assert weights["fc"].shape == (256, 128)
    chips = 255 * torch.rand(3, 3, 150, 150, generator=torch.Generator().manual_seed(0))
    together = embed_chips(chips)
    assert together.shape == (3, 128)
    torch.testing.assert_close(together[1:2], embed_chips(chips[1:2]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("scale", "degrees"), [(0.8, 0), (1.5, 30), (0.5, -170)])
def test_a_chip_has_the_eyes_and_the_nose_where_dlib_wants_them(scale, degrees):
    """A dot at each of the five landmarks in a picture; in the chip they lie at their places."""
    places = torch.tensor(CHIP_PLACES)
    in_chip = (places + 0.25) / 1.5 * 150
    angle = torch.tensor(degrees).deg2rad()
    turn = scale * torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    in_picture = (in_chip - 75) @ turn.mT + torch.tensor([160.0, 150.0])
    landmarks = torch.zeros(468, 3)
    landmarks[list(CHIP_LANDMARKS), :2] = in_picture
    columns, rows = np.meshgrid(np.arange(320) + 0.5, np.arange(300) + 0.5)
    for dot, expected in zip(in_picture.tolist(), in_chip, strict=True):
        bump = 255 * np.exp(-((columns - dot[0]) ** 2 + (rows - dot[1]) ** 2) / (2 * (3 * scale) ** 2))
        chip = face_chip(bump.astype(np.uint8)[..., None].repeat(3, axis=-1), landmarks)[0]
        at = (torch.arange(150) + 0.5).float()
        found = torch.stack([(chip.sum(0) * at).sum(), (chip.sum(1) * at).sum()]) / chip.sum()
        torch.testing.assert_close(found, expected, atol=0.5, rtol=0)


def test_no_face_has_no_embedding():
    nothing = torch.full((2, 468, 3), torch.nan)
    assert embed_faces(torch.zeros(2, 64, 64, 3, dtype=torch.uint8), nothing).isnan().all()


@needs_runtime
def test_light_and_size_leave_the_person_the_same():
    portrait = np.ascontiguousarray(pytest.importorskip("skimage.data").astronaut()[:320, 60:380])
    finder = FaceLandmarks()

    def embedding(picture):
        pictures = torch.from_numpy(picture)[None]
        return embed_faces(pictures, finder.detect_all(pictures))[0]

    for other in ((0.7 * portrait).astype(np.uint8), portrait[::2, ::2].copy(), portrait[:, ::-1].copy()):
        assert (embedding(other) - embedding(portrait)).norm() < SAME_PERSON


@pytest.mark.slow
@needs_runtime
@pytest.mark.skipif(len(HEADS) < 2, reason="no real clips on this machine")
def test_frames_of_one_person_lie_closer_than_those_of_two():
    import av

    finder = FaceLandmarks()
    embeddings, people = [], []
    for person, path in enumerate(HEADS):
        with av.open(str(path)) as video:
            frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)][::25]
        pictures = torch.from_numpy(np.stack(frames))
        embeddings.append(embed_faces(pictures, finder.detect_all(pictures)))
        people += [person] * len(frames)
    vectors, owner = torch.cat(embeddings), torch.tensor(people)
    distances = torch.cdist(vectors, vectors)
    same = owner[:, None] == owner
    different = distances[~same]
    same = distances[same & ~torch.eye(len(owner), dtype=torch.bool)]
    assert same.mean() < 0.4 and different.mean() > 0.7
    balanced = ((same < 0.52).float().mean() + (different >= 0.52).float().mean()) / 2
    assert balanced > 0.95
