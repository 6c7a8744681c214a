"""The portable avatar: it looks as its run does, tells nothing that is nobody's business, and harms nobody."""

import json
import struct

import numpy as np
import pytest
import torch

from nerfstudio_avatars import Avatar
from nerfstudio_avatars.avatars.inspection.reading import read_anything
from nerfstudio_avatars.avatars.run import load_run, training_pictures
from nerfstudio_avatars.cli import main
from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.export.portable import read_portable
from tests.helpers.portable_files import array_changed, entry_changed, parts, set_at, written

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run_avatar(orphan):
    return Avatar.load(orphan)


@pytest.fixture(scope="module")
def portable(run_avatar, tmp_path_factory):
    path = tmp_path_factory.mktemp("portable") / "me.avatar"
    assert "the avatar" in run_avatar.export(path, maker="Nobody", licence="CC0-1.0")
    return path


def test_a_portable_avatar_looks_and_moves_as_its_run(run_avatar, portable):
    other = Avatar.load(portable)
    walk = other.motion("walk")
    assert torch.equal(walk.transl, run_avatar.motion("walk").transl)
    assert torch.equal(other.video.body_pose, run_avatar.video.body_pose)
    shown, truth = (one.render(walk[5], azimuth=40, size=48) for one in (other, run_avatar))
    assert np.array_equal(shown, truth) and shown[..., 3].max() > 200
    told = other.run.provenance
    assert (told.maker, told.licence, told.step) == ("Nobody", "CC0-1.0", 23)


def test_it_is_written_again_with_what_it_was_given(portable, tmp_path):
    Avatar.load(portable).export(tmp_path / "again.avatar", maker="Somebody")
    first, again = (read_portable(path) for path in (portable, tmp_path / "again.avatar"))
    assert again.provenance.maker == "Somebody" and again.provenance.licence == "CC0-1.0"
    assert all(torch.equal(value, again.weights[name]) for name, value in first.weights.items())


def test_no_path_and_no_picture_is_in_it(portable, orphan):
    data = portable.read_bytes()
    for word in (b"/tmp", b"config.yml", b"outputs", str(orphan).encode(), b"PNG", b"JFIF", b"pickle"):
        assert word not in data
    header, _ = parts(portable)
    assert not any("image" in name or "picture" in name for name in header)


def test_it_opens_where_runs_do(portable, tmp_path, capsys):
    words = ["--load-config", str(portable), "--seconds", "0.1", "--fps", "10", "--height", "16", "--width", "16"]
    main(["animate", *words, "--output", str(tmp_path / "film")])
    assert len(list((tmp_path / "film").iterdir())) == 1
    report = read_anything(portable)
    assert {fact.name: fact.shown for fact in report.facts}["licence"] == "CC0-1.0"
    with pytest.raises(UserError, match="Name the data that it was trained on with --data"):
        load_run(portable, need_data=True)


def test_held_out_pictures_are_measured_where_the_data_are_given(portable, person_config):
    data = load_run(person_config).config.data
    mine, theirs = load_run(portable, need_data=True, data=data), load_run(person_config, need_data=True)
    camera, batch = next(iter(mine.datamanager.fixed_indices_eval_dataloader))
    assert batch["image"].shape[-1] == 4
    for name, picture in theirs.model.get_outputs_for_camera(camera).items():
        torch.testing.assert_close(mine.model.get_outputs_for_camera(camera)[name], picture)


def test_pictures_are_shrunk_as_they_were_for_its_training(portable, person_config):
    run, data = load_run(portable), load_run(person_config).config.data
    whole = training_pictures(run, data).source
    run.model.person.cameras.rescale_output_resolution(0.5)
    half = training_pictures(run, data).source
    assert (half.height, half.width) == (whole.height // 2, whole.width // 2)
    run.model.person.cameras.rescale_output_resolution(64.0)
    with pytest.raises(UserError, match=r"was trained on larger ones, of \d+x\d+"):
        training_pictures(run, data)


def test_of_smpl_only_its_name_is_kept(run_avatar, tmp_path, monkeypatch):
    from nerfstudio_avatars.export import portable as module
    from nerfstudio_avatars.instant_avatar.model import InstantAvatarModel

    state = run_avatar.model.get_extra_state()
    state["person"] = state["person"] | {"body": "/home/somebody/SMPL_NEUTRAL.pkl"}
    state["person"]["motion"] = state["person"]["motion"] | {"body": "/home/somebody/SMPL_NEUTRAL.pkl"}
    del state["volume"]
    monkeypatch.setattr(InstantAvatarModel, "get_extra_state", lambda self: state)
    module.write_portable(run_avatar.model, module.Provenance("instant-avatar", 1), tmp_path / "me.avatar")
    header, data = parts(tmp_path / "me.avatar")
    assert b"somebody" not in (tmp_path / "me.avatar").read_bytes()
    assert json.loads(header["__metadata__"]["avatar"])["body"] == "smpl"
    assert not any(name.startswith("volume") for name in header)


def _about(change):
    """A change of the description."""

    def case(header, data):
        about = json.loads(header["__metadata__"]["avatar"])
        change(about)
        header["__metadata__"]["avatar"] = json.dumps(about)
        return header, data

    return case


def _raw(text):
    return lambda header, data: (text, data)


HOSTILE = {
    "cut off": (lambda header, data: (header, data[:-8]), "where .* bytes"),
    "something behind": (lambda header, data: (header, data + b"12345678"), "8 bytes behind the last array"),
    "no JSON": (_raw(b"nonsense"), "cannot be read"),
    "JSON of another kind": (_raw(b"[1, 2, 3]"), "a header that is a list"),
    "without end": (_raw(b'{"a":' * 100_000), "cannot be read"),
    "the same name twice": (_raw(b'{"a": 1, "a": 2}'), "occurs twice"),
    "NaN in the header": (_raw(b'{"a": NaN}'), "the number NaN"),
    "not UTF-8": (_raw(b'{"\xff": 1}'), "cannot be read"),
    "metadata of numbers": (lambda h, d: (h | {"__metadata__": {"format": 3}}, d), "metadata that are no text"),
    "another format": (lambda h, d: (h | {"__metadata__": {}}, d), "of something else"),
    "an array without a shape": (lambda h, d: (h | {"box": {"dtype": "F32"}}, d), "without type, shape and place"),
    "an unknown type": (entry_changed("box", dtype="F8_E4M3"), "of type 'F8_E4M3'"),
    "a negative shape": (entry_changed("box", shape=[-2, -3]), "shape"),
    "a shape beyond all memory": (entry_changed("box", shape=[2**39, 2**39]), "where .* bytes"),
    "a shape of truth": (entry_changed("box", shape=[True, 6]), "shape"),
    "a place before the file": (entry_changed("box", data_offsets=[-24, 0]), "shape|bytes"),
    "a place that overlaps": (entry_changed("box", data_offsets=[0, 24]), "where .* bytes"),
    "NaN in the weights": (array_changed("weights.avatar.field.table", set_at(3, np.nan)), "NaN or infinity"),
    "infinity in the motion": (array_changed("motion.transl", set_at(0, np.inf)), "NaN or infinity"),
    "a place beyond the world": (array_changed("motion.transl", set_at(0, 1e30)), "beyond"),
    "joints beyond the world": (array_changed("weights.poses.joint_offsets", set_at(0, 1e5)), "beyond"),
    "truth of seven": (array_changed("weights.poses.trained", set_at(0, 7), "u1"), "neither 0 nor 1"),
    "corners that are no nodes": (array_changed("volume.cells", set_at(0, 2**30), "<i4"), "lead out"),
    "cells outside": (array_changed("volume.cell_index", set_at(0, -1), "<i4"), "lead out"),
    "cells elsewhere": (array_changed("volume.node_positions", lambda values: values.__iadd__(1)), "lie elsewhere"),
    "weights that are no shares": (array_changed("volume.node_weights", set_at(0, -1.0)), "no shares"),
    "frames that are none": (array_changed("train_frames", set_at(0, 10**6), "<i8"), "lead out"),
    "a picture of no pixels": (array_changed("cameras.width", set_at(0, 0), "<i8"), "lead out"),
    "a picture of all memory": (array_changed("cameras.width", set_at(0, 2**40), "<i8"), "lead out"),
    "a box inside out": (array_changed("box", lambda values: values.__imul__(-1)), "without an inside"),
    "a path for a body": (_about(lambda a: a.update(body="/etc/passwd")), "called '/etc/passwd'"),
    "no description": (_about(lambda a: a.clear()), "a description of"),
    "more in the description": (_about(lambda a: a.update(data="/home/me")), "a description of"),
    "an unknown option": (_about(lambda a: a["options"].update(_target="os.system")), "no field '_target'"),
    "text for a number": (_about(lambda a: a["options"].update(max_steps="many")), "value of type int"),
    "truth for a number": (_about(lambda a: a["options"].update(max_steps=True)), "value of type int"),
    "a grid of all memory": (_about(lambda a: a["options"]["avatar"].update(cell_size=1e-9)), "expected 0.01"),
    "steps without end": (_about(lambda a: a["options"]["avatar"].update(step=1e-12)), "avatar.step"),
    "tables of all memory": (
        _about(lambda a: a["options"]["avatar"]["field"].update(log2_table_size=60)), "expected 1 to 24",
    ),
    "light that nothing keeps small": (
        _about(lambda a: a["options"].update(frame_light_weight=-1.0)), "frame_light_weight = -1.0, expected 0 to 1000",
    ),
    "another network": (_about(lambda a: a["options"]["avatar"]["field"].update(width=32)), "do not fit"),
    "a volume without a size": (_about(lambda a: a["volume"].update(shape=[1, 1, 1])), "of shape"),
    "a volume of another size": (_about(lambda a: a["volume"].update(shape=[9, 9, 9])), "shape"),
    "no frames in a second": (_about(lambda a: a.update(fps=0)), "frames per second"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_was_made_to_do_harm_is_refused(name, portable, tmp_path):
    case, message = HOSTILE[name]
    file = written(tmp_path / "evil.avatar", *case(*parts(portable)))
    with pytest.raises(UserError, match=message) as error:
        load_run(file)
    assert "evil.avatar" in str(error.value)


@pytest.mark.parametrize("data", [b"", b"1234567", struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 0) + b"{}"])
def test_headers_that_are_longer_than_the_file_are_refused(data, tmp_path):
    (tmp_path / "evil.avatar").write_bytes(data)
    with pytest.raises(DataError, match="a header of"):
        load_run(tmp_path / "evil.avatar")


def test_what_a_later_version_wrote_asks_for_an_update(portable, tmp_path):
    header, data = parts(portable)
    header["__metadata__"]["version"] = "2"
    with pytest.raises(DataError, match="pip install -U"):
        load_run(written(tmp_path / "new.avatar", header, data))


def test_names_that_are_no_files_are_told(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        Avatar.load(tmp_path / "nobody.avatar")
    (tmp_path / "folder.avatar").mkdir()
    with pytest.raises(UserError, match="a folder"):
        Avatar.load(tmp_path / "folder.avatar")


def test_unchanged_parts_are_read(portable, tmp_path):
    """The cases above fail for the change alone."""
    assert load_run(written(tmp_path / "same.avatar", *parts(portable))).step == 23
