"""Footage, and the folder that comes of it, with a network that needs no weights."""

import json
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
import torch
from turning_bodies import FIELD_OF_VIEW, HEIGHT, WHOLE, WIDTH, seen_bodies, turning_states

from nerfstudio_avatars.bodies.body_sequence import BodySequence
from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.instant_avatar.data.people_snapshot import PeopleSnapshotDataParserConfig
from nerfstudio_avatars.process import framing, subject
from nerfstudio_avatars.process.body_fit import FittedBody

FRAMES = 12


@pytest.fixture(scope="module")
def seen():
    return seen_bodies(turning_states(FRAMES))


@pytest.fixture
def folder(tmp_path, monkeypatch, seen):
    """Numbered pictures, each of one grey; grey 3 shows nobody."""

    class Finder:
        asked = []
        """Near what places the person was looked for."""

        def __init__(self):
            self.first_look = []
            self.asked.clear()

        def people(self, picture):
            return [np.array([WIDTH / 4, HEIGHT / 2]), np.array([3 * WIDTH / 4, HEIGHT / 2])]

        def detect(self, picture, near=None):
            self.asked.append(near)
            number = int(picture[0, 0, 0]) // 10
            if number == 3:
                return None
            one = seen[number]
            if picture.shape[:2] == (HEIGHT, WIDTH):
                self.first_look.append(one)
                return one
            window = framing.around(self.first_look, WHOLE, HEIGHT)
            assert picture.shape[:2] == window.kept
            return replace(one, points=one.points - [window.left, window.top], mask=window.cut(one.mask))

    monkeypatch.setattr(subject, "BodyLandmarks", Finder)
    # Pictures of one grey have no edges to follow.
    monkeypatch.setattr(subject, "follow_edges", lambda mask, picture: mask)
    for number in range(FRAMES):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((HEIGHT, WIDTH, 3), 10 * number, np.uint8))
    return tmp_path


def nothing_beside(_folder):
    """Writes nothing else into a subject's folder."""


def look(folder, frames=FRAMES, seconds=(0.0, None), size=1000, progress=None):
    return subject.look_at(folder, frames, seconds, size, progress)


@pytest.mark.parametrize("ending", ["mov", "avi", "mkv", "webm", "3gp", "m4v", "mpg", "mp4", "MTS"])
def test_videos_of_every_usual_ending_are_looked_at_frame_by_frame(folder, ending):
    path, codec = (
        folder / f"film.{ending}",
        {"webm": "libvpx-vp9", "mpg": "mpeg2video", "MTS": "mpeg2video"}.get(ending),
    )
    with av.open(str(path), "w", format="mpegts" if ending == "MTS" else None) as container:
        stream = container.add_stream(codec or "mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = HEIGHT, WIDTH, "yuv420p", 4_000_000
        for number in range(FRAMES):
            grey = np.full((HEIGHT, WIDTH, 3), 10 * number + 5, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    footage = look(path)
    assert footage.numbers == [number for number in range(FRAMES) if number != 3] and footage.empty == [3]
    assert footage.fps == pytest.approx(25)


def fitted_of(footage):
    states = turning_states(FRAMES)
    states = [states[number] for number in footage.numbers]
    motion = BodySequence(
        states[0].betas,
        torch.stack([one.global_orient for one in states]),
        torch.stack([one.body_pose for one in states]),
        torch.stack([one.transl for one in states]),
        body="standin",
    )
    return FittedBody(motion, 1.0, [one.mask > 0 for one in footage.seen], np.ones(len(states)))


def test_frames_without_a_person_are_left_out_and_named(folder):
    told = []
    footage = look(folder, progress=lambda *what: told.append(what))
    assert footage.empty == [3] and footage.numbers == [0, 1, 2, *range(4, FRAMES)]
    assert [int(picture[0, 0, 0]) for picture in footage.pictures] == [10 * number for number in footage.numbers]
    assert ("Looking for the person", FRAMES, FRAMES) in told and told[-1] == ("Looking closer", FRAMES - 1, FRAMES - 1)


def test_the_person_is_looked_for_where_they_were_before(folder, seen):
    footage = look(folder)
    asked = subject.BodyLandmarks.asked
    assert asked[0] is None  # The largest.
    np.testing.assert_allclose(asked[1], np.argwhere(seen[0].person).mean(0)[::-1] + 0.5)
    # Of frame 3, which shows nobody, the place is forgotten by none.
    np.testing.assert_allclose(asked[4], np.argwhere(seen[2].person).mean(0)[::-1] + 0.5)
    # The closer look knows where the person is in each frame.
    closer = footage.framing.filmed_place(asked[FRAMES + 5])
    np.testing.assert_allclose(closer, np.argwhere(seen[footage.numbers[5]].person).mean(0)[::-1] + 0.5)


def test_one_of_several_people_is_chosen(folder):
    subject.look_at(folder, FRAMES, (0.0, None), 1000, person=2)
    np.testing.assert_allclose(subject.BodyLandmarks.asked[0], [3 * WIDTH / 4, HEIGHT / 2])
    with pytest.raises(DataError, match="(?s)2 people in frame 0.*--person 3 of them.*--person 1 to 2"):
        subject.look_at(folder, FRAMES, (0.0, None), 1000, person=3)


def test_frames_are_spread_over_the_moments_asked_for(folder):
    assert look(folder, 9).numbers == [0, 1, 4, 6, 7, 8, 10, 11]
    footage = look(folder, 50, (4 / 30, 11 / 30))
    assert footage.numbers == list(range(4, 12)) and footage.fps == pytest.approx(30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, (0.0, 0.1)), "a person in 3 of 4 frames"),
        ((8, (0.3, 0.2)), "leave nothing"),
        ((8, (9.0, None)), "0.4 s; --start 9"),
    ],
)
def test_too_little_is_told(folder, arguments, message):
    with pytest.raises(DataError, match=message):
        look(folder, *arguments)


def test_what_is_no_video_is_told(folder):
    (folder / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"a file of type \.txt"):
        look(folder / "a.txt")
    with pytest.raises(DataError, match="no such file or folder"):
        look(folder / "b.mp4")


def test_pictures_of_several_sizes_are_told(folder):
    cv2.imwrite(str(folder / "5.png"), np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8))
    with pytest.raises(DataError, match="pictures of several sizes"):
        look(folder)


def test_the_subject_is_what_the_dataparser_reads(folder, tmp_path):
    footage = look(folder)
    fitted = fitted_of(footage)
    subject.write_subject(tmp_path / "out" / "me", footage, fitted, FIELD_OF_VIEW, nothing_beside)
    outputs = PeopleSnapshotDataParserConfig(data=tmp_path / "out" / "me", downscale_factor=1).setup()
    train, test = (outputs.get_dataparser_outputs(split) for split in ("train", "test"))
    assert len(train.cameras) == 9 and len(test.cameras) == 2
    assert train.metadata["person"].body.name == "standin"
    seen = train.metadata["pictures"].source.load([1])[0].numpy()
    np.testing.assert_array_equal(seen[..., 3] > 127, footage.seen[1].mask > 127)
    # The body's own silhouette, seen by the dataparser's cameras, is the mask.
    camera, body = train.cameras[1], train.metadata["person"].body
    vertices = body.pose(train.metadata["person"].motion.state(1)).vertices
    to_world = torch.eye(4)
    to_world[:3] = camera.camera_to_worlds
    local = (vertices - to_world[:3, 3]) @ to_world[:3, :3]
    x = camera.cx - camera.fx * local[:, 0] / local[:, 2]
    y = camera.cy + camera.fy * local[:, 1] / local[:, 2]
    mask = cv2.dilate(footage.seen[1].mask, np.ones((3, 3), np.uint8))
    height, width = mask.shape
    inside = mask[y.long().clamp(0, height - 1), x.long().clamp(0, width - 1)] > 0
    assert inside.mean() > 0.995
    assert height < HEIGHT and width < WIDTH and (mask > 0).mean() < 0.6
    notes = json.loads((tmp_path / "out" / "me" / "splits.json").read_text())
    assert notes["frames"] == footage.numbers and notes["gender"] == "neutral"


def test_nothing_is_overwritten_and_nothing_half_written_stays(folder, tmp_path, monkeypatch):
    footage = look(folder)
    fitted = fitted_of(footage)
    (tmp_path / "there").mkdir()
    with pytest.raises(DataError, match="choose another --output"):
        subject.write_subject(tmp_path / "there", footage, fitted, FIELD_OF_VIEW, nothing_beside)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(BodySequence, "save", fail)
    with pytest.raises(UserError, match="disk full.*me: nothing was written"):
        subject.write_subject(tmp_path / "new" / "me", footage, fitted, FIELD_OF_VIEW, nothing_beside)
    assert list((tmp_path / "new").iterdir()) == []


def test_how_far_somebody_turns(folder):
    footage = look(folder)
    whole = fitted_of(footage)
    assert subject.turned_by(whole) == pytest.approx(300, abs=1)  # A frame is missing: 30 degrees twice.
    half = FittedBody(whole.motion[:4], 1.0, [], np.ones(4))
    assert subject.turned_by(half) == pytest.approx(120, abs=1)


def test_who_reaches_the_border_is_named(folder, seen):
    footage = look(folder)
    assert footage.cut_off == []
    footage.seen[2].mask[-1, 40] = 255
    assert footage.cut_off == [], "the window's border is not the picture's"
    at_border = replace(footage.framing, top=HEIGHT - footage.framing.height)
    assert replace(footage, framing=at_border).cut_off == [2]
