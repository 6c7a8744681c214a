"""What is taken out of the studio: films and motions, with a stage that only remembers what it was asked for."""

from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.motion import load_motion
from nerfstudio_avatars.motion.loading import choose_motion
from nerfstudio_avatars.motion.writing import ENDINGS
from nerfstudio_avatars.studio.look import Look
from nerfstudio_avatars.studio.session import Clip, Session
from nerfstudio_avatars.studio.sight import Sight
from nerfstudio_avatars.studio.takes import Film, take_film, take_motion, take_picture

FRONT = Sight((-1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 4.5, 0.0, 1.0, 0.0, 0.0), 0.7, 1.5)


class Stage:
    def __init__(self):
        self.asked = []

    def draw(self, sight, state, height, width, stop=lambda: False):
        self.asked.append((sight, state, height, width))
        accumulation = torch.full((height, width, 1), 0.5)
        red = accumulation * torch.tensor([1.0, 0.0, 0.0])
        return {"premultiplied": red, "accumulation": accumulation}


@pytest.fixture
def show(standin, unchecked_types):
    walk = load_motion("walk")
    session = Session(Clip.of(walk), walk.state(0), standin.rest(torch.zeros(10))[1][0])
    person = SimpleNamespace(body=standin, motion=walk)
    return SimpleNamespace(
        session=session, stage=Stage(), look=Look(), model=SimpleNamespace(person=person), shown=session.state
    )


def _film(show, **options):
    drawn = []
    content = take_film(show, FRONT, Film(side=32, **options), lambda *numbers: drawn.append(numbers), lambda: False)
    return content, drawn


def test_a_film_shows_the_motion_once_at_the_speed_that_is_set(show, tmp_path):
    show.session.playback.speed = 0.5
    content, drawn = _film(show, fps=10)
    walk = load_motion("walk")
    count = round((len(walk) - 1) / walk.fps / 0.5 * 10)
    assert drawn == [(number, count) for number in range(1, count + 1)]
    middle = count // 2
    torch.testing.assert_close(
        show.stage.asked[middle][1].transl, show.session.at(middle / 10 * walk.fps * 0.5).transl, atol=1e-5, rtol=0
    )
    (tmp_path / "x.mp4").write_bytes(content)
    with av.open(str(tmp_path / "x.mp4")) as film:
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(pictures) == count and pictures[0].shape == (20, 32, 3)
    assert np.abs(pictures[0].mean((0, 1)) - [255, 128, 128]).max() < 12


def test_a_turning_camera_goes_once_around_the_person(show):
    show.session.choose("own pose")
    _, drawn = _film(show, camera="turning", fps=4)
    assert len(drawn) == 24
    middle = show.session.at(0.0).transl
    places = torch.tensor([sight.camera_to_world for sight, *_ in show.stage.asked]).view(-1, 3, 4)[:, :, 3] - middle
    angles = torch.atan2(places[:, 1], places[:, 0]).numpy()
    np.testing.assert_allclose(np.diff(np.unwrap(angles)), 2 * np.pi / 24, atol=1e-4)
    assert np.ptp(places[:, :2].norm(dim=1).numpy()) < 1e-4


def test_a_film_that_is_stopped_is_none(show):
    assert take_film(show, FRONT, Film(side=32), lambda *_: None, lambda: len(show.stage.asked) > 3) is None
    with pytest.raises(UserError, match="no camera path"):
        _film(show, camera="camera path")
    with pytest.raises(UserError, match="at most"):
        _film(show, seconds=599.0, fps=120)


def test_a_picture_has_the_side_that_was_asked_for_and_may_be_cut_out(show):
    import io

    from PIL import Image

    plain = Image.open(io.BytesIO(take_picture(show, FRONT, 60)))
    assert plain.size == (60, 40) and plain.mode == "RGB" and plain.getpixel((0, 0)) == (255, 128, 128)
    show.look = Look(background="transparent")
    cut = Image.open(io.BytesIO(take_picture(show, FRONT, 60)))
    assert cut.mode == "RGBA" and cut.getpixel((0, 0)) == (255, 0, 0, 128)


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_motion_leaves_as_it_is_shown(show, standin, tmp_path, ending):
    show.session.put_in("in place")
    path = tmp_path / f"x{ending}"
    path.write_bytes(take_motion(show, ending))
    found = choose_motion(str(path), load_motion("walk"), standin)
    assert len(found) == 39
    for frame in (0, 20):
        a, b = standin.pose(found.state(frame)).joints, standin.pose(show.session.at(frame)).joints
        torch.testing.assert_close(a - a[0], b - b[0], atol=2e-2, rtol=0)
    assert (found.transl[-1] - found.transl[0])[:2].norm() < 0.05
