"""`Creation`: what is refused, and that it may be killed in any stage. The work of each stage is replaced."""

import dataclasses
import json
import shutil

import cv2
import numpy as np
import pytest

from nerfstudio_avatars.avatars import nerfstudio_commands
from nerfstudio_avatars.avatars.creation import ACCOUNT, TITLES, Creation
from nerfstudio_avatars.avatars.nerfstudio_commands import TrainedRun
from nerfstudio_avatars.avatars.results import COMPARISONS, LOOKS, TURNTABLE, VIDEO, WALK
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.run_lock import CREATION, RunLock

WORK = {
    "process": "_process", "first-training": "_train", "first-page": "_first_page", "training": "_train",
    "evaluation": "_evaluate", "films": "_film", "avatar": "_write_avatar", "mesh": "_write_mesh",
}  # fmt: skip
"""The method of each stage."""
FIGURES = {"novel_view_psnr": 31.4, "render_fps": 2.0}


class Killed(BaseException):
    """Stands for a process that ends."""


@pytest.fixture
def video(tmp_path):
    folder = tmp_path / "my_video"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((8, 8, 3), 50 * number, np.uint8))
    return folder


@pytest.fixture
def asked(monkeypatch):
    """Replaces the work of all stages; tells which were done, and kills the process in one of them if asked to."""

    class Asked(list):
        kill = None
        obstacles = ()

        def note(self, stage):
            self.append(stage)
            if stage == self.kill:
                raise Killed

    asked = Asked()

    def process(self, subject):
        shutil.rmtree(subject, ignore_errors=True)
        subject.mkdir(parents=True)
        (self.folder / VIDEO).touch()
        asked.note("process")
        return {"told": ["found them"], "obstacles": list(asked.obstacles), "advice": ["step back"]}

    def train(self, subject, name, steps, title):
        stage = {"first": "first-training", "main": "training"}[name]
        run = self.folder / "runs" / name / self._trained_method / "run"
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.yml").touch()
        asked.note(stage)
        return {"train_seconds": 12.5}

    def making(stage, *names, found=()):
        def work(self, *_):
            for name in names:
                place = self.folder / name.format(self.folder.name)
                place.touch() if place.suffix else place.mkdir(exist_ok=True)
            asked.note(stage)
            return dict(found)

        return work

    figures = {"first": FIGURES, "main": FIGURES}
    monkeypatch.setattr(Creation, "_process", process)
    monkeypatch.setattr(Creation, "_train", train)
    monkeypatch.setattr(Creation, "_first_page", making("first-page", "first-look"))
    monkeypatch.setattr(Creation, "_evaluate", making("evaluation", COMPARISONS, LOOKS, found=figures))
    monkeypatch.setattr(Creation, "_film", making("films", TURNTABLE, WALK))
    monkeypatch.setattr(Creation, "_write_avatar", making("avatar", "{}.avatar"))
    monkeypatch.setattr(Creation, "_write_mesh", making("mesh", "{}.glb", "{}.html"))
    return asked


def test_all_stages_run_in_order_and_a_second_time_none(asked, video, tmp_path):
    page, account = Creation(video, output=tmp_path / "me").create()
    assert asked == list(TITLES) == list(WORK)
    assert page == tmp_path / "me" / "index.html" and "me.html" in page.read_text()
    assert account == json.loads((tmp_path / "me" / ACCOUNT).read_text())
    asked.clear()
    assert Creation(video, output=tmp_path / "me").create()[0] == page and not asked


@pytest.mark.parametrize("stage", WORK)
def test_killed_in_any_stage_it_goes_on_with_that_one(stage, asked, video, tmp_path):
    asked.kill = stage
    with pytest.raises(Killed):
        Creation(video, output=tmp_path / "me").create()
    done = list(asked)
    asked.clear()
    asked.kill = None
    Creation(video, output=tmp_path / "me").create()
    assert done == list(TITLES)[: len(done)] and asked == list(TITLES)[len(done) - 1 :]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"end": 2.0}, list(TITLES)),
        ({"quality": "best"}, ["training", "evaluation", "films", "avatar", "mesh"]),
        ({"steps": 77}, ["training", "evaluation", "films", "avatar", "mesh"]),
        ({"first_steps": 7}, ["first-training", "first-page", "evaluation"]),
        ({"maker": "Ada"}, ["first-page", "avatar", "mesh"]),
        ({"force": True}, []),
    ],
)
def test_other_options_do_what_depends_on_them(change, again, asked, video, tmp_path):
    Creation(video, output=tmp_path / "me").create()
    asked.clear()
    Creation(video, output=tmp_path / "me", **change).create()
    assert asked == again


def test_a_video_that_cannot_work_is_refused_each_time_and_forced_without_looking_again(asked, video, tmp_path):
    asked.obstacles = ("The person sits.",)
    for _ in range(2):
        with pytest.raises(UserError, match=r"The person sits\. step back With --force"):
            Creation(video, output=tmp_path / "me").create()
    assert asked == ["process"]
    Creation(video, output=tmp_path / "me", force=True).create()
    assert asked == list(TITLES)
    assert "The person sits." in (tmp_path / "me" / "index.html").read_text()


def test_another_video_does_not_take_the_place_of_the_first(asked, video, tmp_path):
    Creation(video, output=tmp_path / "me").create()
    cv2.imwrite(str(video / "0.png"), np.full((8, 8, 3), 99, np.uint8))
    with pytest.raises(UserError, match="holds the avatar of another video, my_video"):
        Creation(video, output=tmp_path / "me").create()


def test_who_films_again_may_take_the_place_of_what_was_refused(asked, video, tmp_path):
    asked.obstacles = ("The person sits.",)
    with pytest.raises(UserError, match="sits"):
        Creation(video, output=tmp_path / "me").create()
    asked.obstacles = ()
    cv2.imwrite(str(video / "0.png"), np.full((8, 8, 3), 99, np.uint8))
    Creation(video, output=tmp_path / "me").create()
    assert asked == ["process", *TITLES]


def test_a_folder_of_other_files_is_left_alone(asked, video, tmp_path):
    (tmp_path / "me").mkdir()
    (tmp_path / "me" / "thesis.tex").touch()
    with pytest.raises(UserError, match="holds other files"):
        Creation(video, output=tmp_path / "me").create()
    assert not asked and [one.name for one in (tmp_path / "me").iterdir()] == ["thesis.tex"]


def test_two_at_once_in_a_folder_are_refused(asked, video, tmp_path, monkeypatch):
    lock = RunLock(tmp_path / "me", CREATION)
    monkeypatch.setattr("os.getpid", lambda: 1)  # Another process, for whoever asks.
    with pytest.raises(UserError, match="another `ns-avatar create` is running in this folder"):
        Creation(video, output=tmp_path / "me").create()
    lock.release()


def test_a_missing_video_makes_no_folder(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        Creation(tmp_path / "none.mp4", output=tmp_path / "me").create()
    assert not (tmp_path / "me").exists()


def test_without_a_first_page_there_is_one_training(asked, video, tmp_path):
    Creation(video, output=tmp_path / "me", first_steps=0).create()
    assert asked == [stage for stage in TITLES if not stage.startswith("first")]
    asked.clear()
    Creation(video, output=tmp_path / "me").create()
    assert asked == ["first-training", "first-page", "evaluation"], "what is asked for later is added"


@pytest.mark.parametrize("option", [{"steps": 1}, {"first_steps": 1}, {"first_steps": -3}, {"frames": 3}])
def test_values_that_make_no_sense_are_refused(option, video, tmp_path):
    (name, value), *_ = option.items()
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')} {value}"):
        Creation(video, output=tmp_path / "me", **option).create()


def test_by_default_it_goes_where_the_video_is_named(video):
    assert Creation(video).folder.as_posix() == "outputs/my_video"
    assert dataclasses.replace(Creation(video), output=video).folder == video


def test_the_methods_own_length_is_the_default(asked, video, tmp_path):
    _, account = Creation(video, output=tmp_path / "me", method="instant-avatar-cpu").create()
    assert account["training"]["settings"]["steps"] == 1500


@pytest.mark.parametrize(("quality", "steps"), [("fast", 500), ("normal", 1500), ("best", 6000)])
def test_the_quality_decides_how_long_to_learn(quality, steps, asked, video, tmp_path):
    creation = Creation(video, output=tmp_path / "me", quality=quality, method="instant-avatar-cpu")
    assert creation.create()[1]["training"]["settings"]["steps"] == steps
    assert asked == list(TITLES)


@pytest.mark.parametrize(
    ("quality", "name", "scaled"), [("normal", "main", 0), ("best", "main", 1), ("best", "first", 0)]
)
def test_only_the_best_learns_from_every_filmed_pixel(quality, name, scaled, video, tmp_path, monkeypatch):
    given = []
    done = TrainedRun(tmp_path, 9, 1.0, 2.0)
    monkeypatch.setattr(nerfstudio_commands, "train", lambda *arguments: given.extend(arguments[5]) or done)
    assert Creation(video, quality=quality)._train(tmp_path, name, 9, "title") == {"train_seconds": 1.0}
    assert given[4:] == ["people-snapshot", "--downscale-factor", "1"] * scaled
