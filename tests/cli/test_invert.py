"""Identity files: found, written, read back, and refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nerfstudio_avatars.cli.errors import UserError
from nerfstudio_avatars.cli.invert import Invert, find_identity, load_identity, save_identity, volanim_model
from nerfstudio_avatars.cli.run_config import load_run
from nerfstudio_avatars.data.errors import DataError
from nerfstudio_avatars.models.identity_inversion import InvertedIdentity

CHANNELS = 6


@pytest.fixture
def identity():
    cube = torch.randn(CHANNELS, 4, 4, 4)
    return InvertedIdentity(torch.randn(3), cube, cube, {"start": 1.0})


@pytest.fixture(scope="module")
def pictures(head_clips):
    return tuple(sorted((head_clips / "test").glob("*/*.png"))[:2])


def test_a_file_holds_what_was_found(volanim_config, pictures, tmp_path, capsys):
    output = tmp_path / "new" / "identity.npz"
    Invert(volanim_config, pictures, output, code_steps=3, tune_steps=2).run()
    said = capsys.readouterr().out
    assert "start" in said and "code" in said and "tuned" in said and str(output) in said
    assert [file.name for file in output.parent.iterdir()] == ["identity.npz"]
    cube = load_identity(output, CHANNELS)
    assert cube.shape == (CHANNELS, 16, 16, 16) and cube.dtype == torch.float32
    with np.load(output) as file:
        assert file["code"].shape == (3,)


def test_steps_are_the_runs_unless_said_otherwise(volanim_config, pictures):
    run = load_run(volanim_config)
    model, seen = run.pipeline.model, []
    invert = model.invert
    model.invert = lambda images, progress: seen.append(len(images)) or invert(images, progress)
    found = find_identity(run, pictures)
    assert seen == [2] and found.cube.shape[0] == CHANNELS
    again = find_identity(run, pictures)
    torch.testing.assert_close(found.cube, again.cube)
    clip = find_identity(run, (pictures[0].parent,))
    assert seen[-1] == 16 and clip.code.shape == (3,)


def test_saved_and_loaded_they_are_equal(identity, tmp_path):
    save_identity(identity, tmp_path / "a.npz")
    torch.testing.assert_close(load_identity(tmp_path / "a.npz", CHANNELS), identity.cube)


def test_a_failed_save_leaves_what_was_there(identity, tmp_path, monkeypatch):
    save_identity(identity, tmp_path / "a.npz")

    def full(file, **_):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space"):
        save_identity(identity, tmp_path / "a.npz")
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]
    load_identity(tmp_path / "a.npz", CHANNELS)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"no zip", "ValueError|UnpicklingError|OSError"),
        ({"code": np.zeros(3)}, "KeyError"),
        ({"cube": np.array([{}], dtype=object)}, "ValueError"),
        ({"cube": np.array(["a"])}, "ValueError"),
        ({"cube": np.zeros((CHANNELS + 1, 4, 4, 4))}, r"shape \(7, 4, 4, 4\)"),
        ({"cube": np.full((CHANNELS, 4, 4, 4), np.nan)}, "finite"),
        ({"cube": np.zeros(3)}, "channels"),
    ],
)
def test_wrong_files_are_named(content, found, tmp_path):
    path = tmp_path / "wrong.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(DataError, match=found) as error:
        load_identity(path, CHANNELS)
    assert str(path) in str(error.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_identity(tmp_path / "none.npz", CHANNELS)


def test_the_output_must_be_such_a_file(volanim_config, pictures, tmp_path):
    with pytest.raises(UserError, match=r"ends in \.npz"):
        Invert(volanim_config, pictures, tmp_path / "identity.pt").run()


def test_runs_of_other_methods_are_refused(tmp_path):
    run = SimpleNamespace(
        pipeline=SimpleNamespace(model=torch.nn.Linear(1, 1)),
        config=SimpleNamespace(method_name="instant-avatar"),
        checkpoint=tmp_path / "step.ckpt",
    )
    with pytest.raises(UserError, match="a run of instant-avatar"):
        volanim_model(run)
