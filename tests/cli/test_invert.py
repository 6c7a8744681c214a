"""Identity files: found, written, read back, and refused."""

import errno
import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from nerfstudio_avatars.avatars import identity as identities
from nerfstudio_avatars.avatars.driving import chosen_identity
from nerfstudio_avatars.avatars.identity import find_identity, load_identity, save_identity, volanim_model
from nerfstudio_avatars.avatars.run import load_run
from nerfstudio_avatars.cli.invert import Invert
from nerfstudio_avatars.errors import DataError, UserError
from nerfstudio_avatars.process import person_masks
from nerfstudio_avatars.unsup_volanim.inversion import InvertedIdentity
from nerfstudio_avatars.unsup_volanim.volumetric_skinning import PartPoses

PARTS = 2
CHANNELS = PARTS + 4


@pytest.fixture
def identity():
    cube = torch.randn(CHANNELS, 4, 4, 4)
    turns = torch.linalg.qr(torch.randn(1, PARTS, 3, 3))[0]
    turns = turns * torch.linalg.det(turns)[..., None, None]
    pose = PartPoses(turns, torch.randn(1, PARTS, 3))
    return InvertedIdentity(torch.randn(3), cube, pose, {"start": 1.0})


def arrays(**others):
    """What a file holds."""
    whole = {
        "cube": np.zeros((CHANNELS, 4, 4, 4)),
        "rotation": np.tile(np.eye(3), (PARTS, 1, 1)),
        "translation": np.zeros((PARTS, 3)),
    }
    return whole | others


@pytest.fixture(scope="module")
def pictures(head_clips):
    return tuple(sorted((head_clips / "test").glob("*/*.png"))[:2])


def test_a_file_holds_what_was_found(volanim_config, pictures, tmp_path, capsys):
    output = tmp_path / "new" / "identity.npz"
    Invert(volanim_config, pictures, output, code_steps=3, tune_steps=2).run()
    said = capsys.readouterr().out
    assert "start" in said and "code" in said and "tuned" in said and str(output) in said
    assert [file.name for file in output.parent.iterdir()] == ["identity.npz"]
    cube, pose = load_identity(output, PARTS)
    assert cube.shape == (CHANNELS, 16, 16, 16) and cube.dtype == torch.float32
    assert pose.rotation.shape == (1, PARTS, 3, 3)
    with np.load(output) as file:
        assert file["code"].shape == (3,)


def test_steps_are_the_runs_unless_said_otherwise(volanim_config, pictures):
    run = load_run(volanim_config)
    model, seen = run.model, []
    invert = model.invert
    model.invert = lambda images, *others: seen.append(len(images)) or invert(images, *others)
    found = find_identity(run, pictures)
    assert seen == [2] and found.cube.shape[0] == CHANNELS
    again = find_identity(run, pictures)
    torch.testing.assert_close(found.cube, again.cube)
    clip = find_identity(run, (pictures[0].parent,))
    assert seen[-1] == 16 and clip.code.shape == (3,)


def test_rounds_replace_both_stages_this_once(volanim_config, pictures, tmp_path, capsys):
    Invert(volanim_config, pictures, tmp_path / "a.npz", rounds=2).run()
    said = capsys.readouterr().out
    assert "start" in said and "tuned" in said and "code" not in said
    assert load_identity(tmp_path / "a.npz", PARTS)[0].shape == (CHANNELS, 16, 16, 16)
    run = load_run(volanim_config)
    assert set(find_identity(run, pictures, rounds=1).errors) == {"start", "tuned"}
    assert run.model.config.inversion.rounds == 0


def test_masks_that_show_nothing_are_refused_before_anything_is_fitted(volanim_config, pictures, tmp_path):
    run = load_run(volanim_config)
    run.model.invert = lambda *_: pytest.fail("nothing can be fitted")
    black, white = tmp_path / "black.png", tmp_path / "white.png"
    for path, level in ((black, 0), (white, 255)):
        Image.new("L", (32, 32), level).save(path)
    for masks in ((black, black), (white, black)):
        with pytest.raises(DataError, match=r"(?s)black\.png.*without a white pixel.*leave --mask out"):
            find_identity(run, pictures, masks)
    transparent = tmp_path / "me.png"
    Image.new("RGBA", (32, 32), (90, 90, 90, 0)).save(transparent)
    with pytest.raises(DataError, match="me.png"):
        find_identity(run, (transparent,))


@pytest.mark.parametrize("name", ["random:" + "9" * 5000, "random:-1", "random:", "random:1.5", "random:" + "9" * 19])
def test_numbers_of_random_identities_are_numbers(volanim_config, name):
    with pytest.raises(UserError, match="at most 18 digits"):
        chosen_identity(load_run(volanim_config).model, name)


def test_saved_and_loaded_they_are_equal(identity, tmp_path):
    save_identity(identity, tmp_path / "a.npz")
    cube, pose = load_identity(tmp_path / "a.npz", PARTS)
    torch.testing.assert_close(cube, identity.cube)
    torch.testing.assert_close(pose.rotation, identity.pose.rotation)
    torch.testing.assert_close(pose.translation, identity.pose.translation)


def test_a_failed_save_leaves_what_was_there(identity, tmp_path, monkeypatch):
    save_identity(identity, tmp_path / "a.npz")

    def full(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space"):
        save_identity(identity, tmp_path / "a.npz")
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]
    load_identity(tmp_path / "a.npz", PARTS)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"no zip", "ValueError|UnpicklingError|OSError"),
        ({"code": np.zeros(3)}, "KeyError"),
        ({"cube": np.zeros((CHANNELS, 4, 4, 4))}, "KeyError"),
        (arrays(cube=np.array([{}], dtype=object)), "ValueError"),
        (arrays(cube=np.array(["a"])), "ValueError"),
        (arrays(cube=np.zeros((CHANNELS + 1, 4, 4, 4))), r"shapes \[\(7, 4, 4, 4\)"),
        (arrays(cube=np.full((CHANNELS, 4, 4, 4), np.nan)), "finite"),
        (arrays(cube=np.zeros(3)), "parts"),
        (arrays(rotation=np.zeros(())), "parts"),
        (arrays(rotation=np.zeros((PARTS, 3, 3))), "no rotation"),
        (arrays(rotation=np.tile(-np.eye(3), (PARTS, 1, 1))), "no rotation"),
        (arrays(translation=np.zeros((PARTS, 2))), "parts"),
        (
            arrays(cube=np.zeros((5, 4, 4, 4)), rotation=np.eye(3)[None], translation=np.zeros((1, 3))),
            "1 rigid part",
        ),
    ],
)
def test_wrong_files_are_named(content, found, tmp_path):
    path = tmp_path / "wrong.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(DataError, match=found) as error:
        load_identity(path, PARTS)
    assert str(path) in str(error.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_identity(tmp_path / "none.npz")


def test_the_output_must_be_such_a_file(volanim_config, pictures, tmp_path):
    with pytest.raises(UserError, match=r"ends in \.npz"):
        Invert(volanim_config, pictures, tmp_path / "identity.pt").run()


def test_runs_of_other_methods_are_refused(tmp_path):
    run = SimpleNamespace(
        model=torch.nn.Linear(1, 1),
        config=SimpleNamespace(method="instant-avatar"),
        checkpoint=tmp_path / "step.ckpt",
    )
    with pytest.raises(UserError, match="a run of instant-avatar"):
        volanim_model(run)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"image": ()}, "--image: expected one or more pictures"),
        ({"code_steps": -1}, "--code-steps -1"),
        ({"tune_steps": -3}, "--tune-steps -3"),
        ({"rounds": -1}, "--rounds -1"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_run_is_opened(wrong, match, pictures, tmp_path):
    with pytest.raises(UserError, match=match):
        Invert(**({"load_config": tmp_path / "nowhere", "image": pictures} | wrong)).run()


def test_pictures_that_the_run_cannot_draw_are_told_of(volanim_config, tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 2, (32, 32, 3)).astype(np.uint8) * 255
    Image.fromarray(noise).save(tmp_path / "noise.png")
    Invert(volanim_config, (tmp_path / "noise.png",), tmp_path / "a.npz").run()
    assert "reconstructed badly" in capsys.readouterr().out


def test_of_a_long_clip_some_pictures_are_taken(volanim_config, head_clips, monkeypatch):
    monkeypatch.setattr(identities, "MOST_PICTURES", 5)
    run = load_run(volanim_config)
    seen = []
    monkeypatch.setattr(run.model, "invert", lambda pictures, *_: seen.append(pictures))
    find_identity(run, (sorted((head_clips / "test").iterdir())[0],))
    assert len(seen[0]) == 5 and seen[0].max() <= 1


def test_identities_of_another_network_are_refused(identity, tmp_path):
    save_identity(replace(identity, network="ours"), tmp_path / "a.npz")
    load_identity(tmp_path / "a.npz", PARTS, "ours")
    save_identity(identity, tmp_path / "unknown.npz")
    for path in (tmp_path / "a.npz", tmp_path / "unknown.npz"):
        with pytest.raises(DataError, match="identity of another run"):
            load_identity(path, PARTS, "theirs")


class Asked:
    """Stands for the model's inversion and keeps what it was given."""

    def __call__(self, pictures, progress, masks):
        self.pictures, self.masks = pictures, masks


@pytest.fixture
def asked(volanim_config, monkeypatch):
    run = load_run(volanim_config)
    asked = Asked()
    monkeypatch.setattr(run.model, "invert", asked)
    asked.run = run
    return asked


def test_masks_that_are_given_are_used(asked, pictures, tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    for number in range(16):
        Image.fromarray(np.full((64, 64), 255 if number else 0, np.uint8)).save(folder / f"{number:02d}.png")
    find_identity(asked.run, (pictures[0].parent,), (folder,))
    assert asked.masks.shape == (16, 32, 32) and (asked.masks[0] == 0).all() and (asked.masks[1:] == 1).all()
    with pytest.raises(UserError, match="--mask: 1 given for 2 pictures"):
        find_identity(asked.run, pictures, (folder,))
    with pytest.raises(DataError, match="no such file"):
        find_identity(asked.run, pictures[:1], (tmp_path / "none.png",))


def test_transparency_is_a_mask(asked, tmp_path):
    picture = np.full((32, 32, 4), 255, np.uint8)
    picture[:, :16, 3] = 0
    Image.fromarray(picture).save(tmp_path / "a.png")
    find_identity(asked.run, (tmp_path / "a.png",))
    assert (asked.masks[0, :, :16] == 0).all() and (asked.masks[0, :, 16:] == 1).all()


@pytest.mark.parametrize(
    ("trained_with", "found", "said"),
    [
        (True, torch.full((1, 32, 32), 255, dtype=torch.uint8), "person found in the pictures is used"),
        (True, torch.zeros(1, 32, 32, dtype=torch.uint8), "No person was found.*ghosts"),
        (True, ModuleNotFoundError("not installed"), "ghosts.*not installed"),
        (False, None, "without masks, as in training, .*ghosts"),
    ],
)
def test_masks_are_found_where_they_can_be_and_it_is_said(
    trained_with, found, said, asked, pictures, monkeypatch, capsys
):
    def segment(pictures, size):
        assert pictures.shape == (1, 256, 256, 3) and size == 32
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(person_masks, "person_masks", segment)
    model = asked.run.model
    monkeypatch.setattr(model, "clips", replace(model.clips, has_masks=trained_with))
    find_identity(asked.run, pictures[:1])
    lines = [line for line in capsys.readouterr().out.splitlines() if "mask" in line]
    assert len(lines) == 1 and re.search(said, lines[0])
    assert (asked.masks is None) == ("ghosts" in said)
