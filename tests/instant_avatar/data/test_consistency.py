"""A drawn person, whose parts belong together, and the same with one part exchanged."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from nerfstudio_avatars.bodies.standin import load_standin
from nerfstudio_avatars.demo.person import Camera, DemoPerson
from nerfstudio_avatars.demo.sequence import demo_intrinsic, turning
from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.instant_avatar.data.consistency import checked
from nerfstudio_avatars.instant_avatar.data.recording import MaskedFrame, Recording

SIZE, FRAMES = 128, 12


@pytest.fixture(scope="module")
def drawn():
    """A person turning in A-pose, and their masks."""
    person = DemoPerson(torch.zeros(10))
    motion = turning(person, FRAMES, np.random.default_rng(0))
    camera = Camera(demo_intrinsic(SIZE), np.eye(4), SIZE, SIZE)
    masks = [(person.hits(motion.state(frame), camera)[0].face >= 0).astype(np.uint8) * 255 for frame in range(FRAMES)]
    return motion, masks


def _recording(tmp_path, motion, masks, **changed):
    def read(frames):
        return (MaskedFrame(np.zeros((SIZE, SIZE, 3), np.uint8), masks[frame]) for frame in frames)

    frames = list(range(FRAMES))
    recording = Recording(
        folder=tmp_path,
        subject="one",
        motion=motion,
        intrinsics=np.broadcast_to(demo_intrinsic(SIZE), (FRAMES, 3, 3)),
        extrinsics=np.broadcast_to(np.eye(4), (FRAMES, 4, 4)),
        height=SIZE,
        width=SIZE,
        splits={"train": frames, "val": [0], "test": [0]},
        read=read,
        masks=lambda frames: (masks[frame] for frame in frames),
    )
    return replace(recording, **changed)


def _check(recording, motion=None):
    return checked(recording, motion or recording.motion, load_standin())


def test_parts_of_one_recording_pass_without_a_word(tmp_path, drawn):
    recording = _recording(tmp_path, *drawn)
    assert _check(recording) == recording


def test_inverted_masks_are_inverted_back_and_told(tmp_path, drawn):
    motion, masks = drawn
    found = _check(_recording(tmp_path, motion, [255 - mask for mask in masks]))
    np.testing.assert_array_equal(list(found.masks([0, 5])), [masks[0], masks[5]])
    np.testing.assert_array_equal([shown.mask for shown in found.read([0, 5])], [masks[0], masks[5]])
    assert len(found.notes) == 1 and "inverted back" in found.notes[0]


def _moved(masks, pixels):
    return [np.roll(mask, pixels, 1) for mask in masks]


MASKS = {
    "of somebody elsewhere": (lambda masks: _moved(masks, 50), "overlap by 0.0"),
    "noise": (lambda masks: [cv2.circle(np.zeros_like(mask), (10, 10), 9, 255, -1) for mask in masks], "pixels tall"),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_that_are_not_the_bodys_are_refused_with_figures(tmp_path, drawn, kind):
    spoil, told = MASKS[kind]
    motion, masks = drawn
    with pytest.raises(DataError, match=told):
        _check(_recording(tmp_path, motion, spoil(masks)))


@pytest.mark.parametrize("shift", [-3, 3])
def test_masks_of_a_few_frames_earlier_or_later_are_known_where_the_person_moves(tmp_path, drawn, shift):
    """The person walks through the picture; standing in one place, a shift of frames is hardly seen."""
    motion, _ = drawn
    along = torch.linspace(-1.1, 1.1, FRAMES)[:, None] * torch.tensor([1.0, 0.0, 0.0])
    motion = replace(motion, transl=motion.transl + along)
    person, camera = DemoPerson(torch.zeros(10)), Camera(demo_intrinsic(SIZE), np.eye(4), SIZE, SIZE)
    order = np.arange(FRAMES) + shift
    masks = [
        (person.hits(motion.state(int(frame)), camera)[0].face >= 0).astype(np.uint8) * 255
        for frame in order.clip(0, FRAMES - 1)
    ]
    with pytest.raises(DataError, match=f"masks 3 frames {'later' if shift > 0 else 'earlier'}"):
        _check(_recording(tmp_path, motion, masks))


def test_wrong_poses_between_right_ones_are_not_taken_for_masks_of_other_frames(tmp_path, drawn):
    """Only training frames are wrong in `benchmarks/pose_recovery.py`: those before and after fit better."""
    motion, masks = drawn
    names = ("global_orient", "body_pose", "transl")
    still = {name: getattr(motion, name)[:1].repeat(FRAMES, 1) for name in names}
    still["transl"][1::2, 0] += 0.06
    recording = _recording(tmp_path, replace(motion, **still), [masks[0]] * FRAMES)
    train = list(range(1, FRAMES, 2))
    _check(replace(recording, splits={**recording.splits, "train": train}))  # refuses nothing


def _camera(scale=1.0, focal=1.0):
    matrix = demo_intrinsic(SIZE)
    matrix[:2] *= scale
    matrix[[0, 1], [0, 1]] *= focal
    return {"intrinsics": np.broadcast_to(matrix, (FRAMES, 3, 3))}


def _placed(motion, transl=(0, 0, 0), factor=1.0):
    return replace(motion, transl=motion.transl * factor + torch.tensor(transl))


MOTIONS = {
    "behind the camera": (lambda m: _placed(m, (0.0, 0.0, -12.0)), "behind the camera"),
    "millimetres": (lambda m: _placed(m, factor=1000.0), "m from the camera"),
    "beside the picture": (lambda m: _placed(m, (30.0, 0.0, 0.0)), "outside of the picture"),
    "a giant": (lambda m: replace(m, betas=torch.full((10,), 50.0)), "betas"),
    "NaN betas": (lambda m: replace(m, betas=torch.full((10,), torch.nan)), "betas"),
    "a child": (lambda m: replace(m, gender="child"), "gender 'child'"),
}


@pytest.mark.parametrize("kind", MOTIONS)
def test_motions_that_cannot_be_the_pictures_are_refused(tmp_path, drawn, kind):
    spoil, told = MOTIONS[kind]
    motion, masks = drawn
    with pytest.raises(DataError, match=told):
        _check(_recording(tmp_path, spoil(motion), masks))


@pytest.mark.parametrize(("scale", "told"), [(0.5, "twice its size"), (2.0, "half its size")])
def test_a_camera_for_pictures_of_another_size_is_known(tmp_path, drawn, scale, told):
    with pytest.raises(DataError, match=told):
        _check(_recording(tmp_path, *drawn, **_camera(scale)))


def test_a_focal_length_that_does_not_fit_the_distance_is_refused(tmp_path, drawn):
    with pytest.raises(DataError, match="field of view is"):
        _check(_recording(tmp_path, *drawn, **_camera(focal=0.3)))


def test_a_first_frame_in_t_pose_is_told(tmp_path, drawn):
    motion, masks = drawn
    pose = motion.body_pose.clone()
    pose[0] = 0
    notes = _check(_recording(tmp_path, replace(motion, body_pose=pose), masks)).notes
    assert any("T-pose" in note for note in notes)


def test_speeds_that_nobody_has_and_outliers_are_told(tmp_path, drawn):
    motion, masks = drawn
    notes = _check(_recording(tmp_path, replace(motion, fps=2000.0), masks)).notes
    assert any("2000 frames per second" in note for note in notes)
    transl = motion.transl.clone()
    transl[7, 2] += 3
    notes = _check(_recording(tmp_path, replace(motion, transl=transl), masks)).notes
    assert any("(7)" in note for note in notes)
