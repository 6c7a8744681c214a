"""The portable file of a kind: it moves as its run does, tells no path, and harms nobody."""

import json
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from nerfstudio_avatars import Avatar, LearntKind
from nerfstudio_avatars.avatars.inspection.reading import read_anything
from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.cli import main
from nerfstudio_avatars.errors import UserError
from tests.helpers.portable_files import array_changed, entry_changed, parts, set_at, written


@pytest.fixture(scope="module")
def kind(volanim_config):
    return LearntKind.load(volanim_config)


@pytest.fixture(scope="module")
def portable(kind, tmp_path_factory):
    path = tmp_path_factory.mktemp("portable") / "heads.avatar"
    assert "the avatar" in kind.export(path, maker="Nobody", licence="CC0-1.0")
    return path


def test_a_portable_kind_looks_and_moves_as_its_run(kind, portable, head_clips):
    other = LearntKind.load(portable)
    assert other.identities == kind.identities and other.model.clips.size == kind.model.clips.size
    for name in (kind.identities[2], "random:4"):
        one, same = kind.identity(name), other.identity(name)
        pose = kind.drive(kind.model.clips.table[0].name)[3]
        assert np.array_equal(kind.render(one, pose, yaw=20, size=24), other.render(same, pose, yaw=20, size=24))
    own = other.identity(kind.identities[2]).pose
    torch.testing.assert_close(own.rotation, kind.identity(kind.identities[2]).pose.rotation)
    file = sorted((head_clips / "train").iterdir())[1]
    mine, theirs = other.drive(file, 0.1), kind.drive(file, 0.1)
    assert len(mine) == 2 and torch.equal(mine[1].rotation, theirs[1].rotation)
    assert torch.equal(other.drive(kind.model.clips.table[0].name)[5].rotation,
                       kind.drive(kind.model.clips.table[0].name)[5].rotation)  # fmt: skip


def test_somebody_new_is_fitted_with_it_and_known_to_the_run(kind, portable, head_clips, tmp_path):
    picture = sorted((head_clips / "test").glob("*/*.png"))[0]
    words = ["--load-config", str(portable), "--image", str(picture), "--output", str(tmp_path / "new.npz")]
    main(["invert", *words, "--code-steps", "1", "--tune-steps", "1"])
    assert kind.identity(tmp_path / "new.npz").pose is not None


def test_no_path_and_no_picture_is_in_it(kind, portable, head_clips):
    data = portable.read_bytes()
    for word in (b"/tmp", b"config.yml", b"train/", b"/train", b".png", b"PNG", b"JFIF", b"pickle", b"truth"):
        assert word not in data
    header, _ = parts(portable)
    assert not any("search" in name or "table." in name or "image" in name for name in header)


def test_it_opens_where_runs_do(portable, kind, tmp_path, capsys):
    words = ["--load-config", str(portable), "--driving", kind.model.clips.table[0].name]
    main(["drive", *words, "--identity", kind.identities[1], "--seconds", "0.05", "--height", "16",
          "--output", str(tmp_path / "film")])  # fmt: skip
    assert np.asarray(Image.open(next((tmp_path / "film").iterdir()))).shape == (16, 16, 3)
    facts = {fact.name: fact.shown for fact in read_anything(portable).facts}
    assert facts["licence"] == "CC0-1.0" and facts["identities"] == str(len(kind.identities))
    with pytest.raises(UserError, match="Expected one of instant-avatar"):
        Avatar.load(portable)
    with pytest.raises(UserError, match="holds all that the run has learnt"):
        kind.export(tmp_path / "one.avatar", identity=kind.identities[0])


def test_it_is_written_again_as_it_was(portable, tmp_path):
    LearntKind.load(portable).export(tmp_path / "again.avatar")
    first, again = parts(portable), parts(tmp_path / "again.avatar")
    assert first[1] == again[1]
    old, new = (json.loads(header["__metadata__"]["kind"]) for header, _ in (first, again))
    assert old["provenance"].pop("written") <= new["provenance"].pop("written") and old == new


def test_held_out_frames_are_there_where_the_data_are_given(portable, kind, head_clips):
    opened = load_run(portable, need_data=True, data=head_clips)
    assert opened.model.clips.size == kind.model.clips.size and opened.model.clips.is_there(0)
    pose = opened.model.driving_pose(1, 7)
    assert torch.equal(pose.rotation, kind.model.driving_pose(1, 7).rotation)


def _kind(change):
    """A change of the description."""

    def case(header, data):
        about = json.loads(header["__metadata__"]["kind"])
        change(about)
        header["__metadata__"]["kind"] = json.dumps(about)
        return header, data

    return case


def _network(**changes):
    return _kind(lambda about: about["options"]["network"].update(changes))


def _generator(**changes):
    return _kind(lambda about: about["options"]["network"]["generator"].update(changes))


def _clip(**changes):
    return _kind(lambda about: about["clips"][0].update(changes))


HOSTILE = {
    "cut off": (lambda header, data: (header, data[:-8]), "where .* bytes"),
    "two descriptions": (lambda h, d: (h["__metadata__"].update(avatar="{}"), (h, d))[1], "of something else"),
    "no description": (_kind(lambda a: a.clear()), "a description of"),
    "only where it comes from": (_kind(lambda a: [a.pop(k) for k in [*a] if k != "provenance"]), "a description"),
    "more in the description": (_kind(lambda a: a.update(data="/home/me")), "a description of"),
    "NaN in the weights": (array_changed("weights.network.point_logits", set_at(0, np.nan)), "NaN or infinity"),
    "weights beyond all": (array_changed("weights.network.point_logits", set_at(0, 1e30)), "beyond"),
    "another shape": (entry_changed("weights.network.embedding.table", shape=[3, 4]), "of shape"),
    "poses of no clip": (array_changed("poses.rows", set_at(0, 99), "<i8"), "there are not"),
    "poses of no frame": (array_changed("poses.rows", set_at(1, 9999), "<i8"), "there are not"),
    "poses before the clip": (array_changed("poses.rows", set_at(1, -1), "<i8"), "there are not"),
    "no identities": (_kind(lambda a: a.update(identities=[])), "0 identities"),
    "the same identity twice": (_kind(lambda a: a.update(identities=[a["identities"][0]] * 4)), "one twice"),
    "identities of numbers": (_kind(lambda a: a.update(identities=[1, 2, 3, 4])), "no names"),
    "more identities than rows": (_kind(lambda a: a.update(identities=[*a["identities"], "eve"])), "without a clip"),
    "a name of a megabyte": (_kind(lambda a: a["identities"].__setitem__(0, "a" * 10**5)), "no names"),
    "a name that moves the cursor": (_kind(lambda a: a["identities"].__setitem__(0, "a\x1b[2J")), "no names"),
    "no clips": (_kind(lambda a: a.update(clips=[])), "no list of clips"),
    "a clip with a path": (_clip(path="/etc/passwd"), "a clip that is"),
    "a clip without end": (_clip(frames=10**12), "frames"),
    "a clip of no frames": (_clip(frames=0), "frames"),
    "a clip that stands": (_clip(fps=0), "frames a second"),
    "a clip of nobody": (_clip(identity=77), "identity 77"),
    "pictures of all memory": (_kind(lambda a: a.update(size=10**6)), "pictures of"),
    "an unknown option": (_kind(lambda a: a["options"].update(_target="os.system")), "no field '_target'"),
    "an option of the training": (_kind(lambda a: a["options"].update(losses={})), "no field 'losses'"),
    "text for a number": (_network(parts="many"), "value of type int"),
    "parts of all memory": (_network(parts=10**6), "expected 1 to 64"),
    "other parts": (_network(parts=3), "of shape"),
    "another detector": (_network(part_detector="upright"), "of shape|no array"),
    "widths of all memory": (_generator(widths=[10**9, 1]), "expected 1 to 2048"),
    "resolutions of all memory": (_generator(widths=[8] * 20), "too many resolutions"),
    "other widths": (_generator(widths=[2048, 2048, 2048]), "of shape"),
    "a code of all memory": (_generator(code_size=10**9), "expected 1 to 4096"),
    "volumes that are too many": (_network(detail=0.0), "do not fit"),
    "fine voxels that are not there": (_network(fine_detail=True), "no array"),
    "samples without end": (_kind(lambda a: a["options"].update(eval_samples=10**9)), "expected 1 to 4096"),
    "steps without end": (_kind(lambda a: a["options"]["inversion"].update(code_steps=10**9)), "expected 0 to"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_was_made_to_do_harm_is_refused(name, portable, tmp_path):
    case, message = HOSTILE[name]
    file = written(tmp_path / "evil.avatar", *case(*parts(portable)))
    with pytest.raises(UserError, match=message) as error:
        load_run(file)
    assert "evil.avatar" in str(error.value)


def test_unchanged_parts_are_read(portable, tmp_path):
    """The cases above fail for the change alone."""
    assert load_run(written(tmp_path / "same.avatar", *parts(portable))).step == 3
    assert struct.unpack_from("<Q", portable.read_bytes())[0] > 100
