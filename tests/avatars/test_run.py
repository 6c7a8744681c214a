"""Which config.yml is opened, and with which checkpoint. What is refused: tests/nerfstudio_glue/test_config_file.py."""

import pathlib
import shutil
from pathlib import Path

import pytest
import yaml

from nerfstudio_avatars.avatars.run import find_config, load_run
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.nerfstudio_glue.run_folder import anchored


def test_a_runs_folder_stands_for_its_config(tmp_path):
    (tmp_path / "config.yml").touch()
    assert find_config(tmp_path) == tmp_path / "config.yml"
    with pytest.raises(UserError, match="no such file"):
        find_config(tmp_path / "other")


@pytest.mark.parametrize("typed", ["outputs", "work/outputs"])
def test_data_typed_relative_to_the_folder_of_the_start_are_found(typed, tmp_path, monkeypatch):
    """From wherever a command is given."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / "data").mkdir(parents=True)
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    run = home / typed / "experiment" / "method" / "run"

    def found(data, output_dir=typed):
        return anchored(pathlib.Path(data), run / "config.yml", "method", pathlib.Path(output_dir))

    assert found("data") == home / "data"
    assert found("nothing") == pathlib.Path("nothing")
    assert found("data", "other") == pathlib.Path("data"), "the outputs were moved"
    assert found(home / "data") == home / "data"
    (elsewhere / "data").mkdir()
    assert found("data") == pathlib.Path("data"), "what is here comes first"


@pytest.mark.parametrize(
    ("data", "output_dir", "there"),
    [
        ("../data", "../outputs", True),
        ("../../data", "../outputs", False),
        ("data", "../outputs", False),
        ("../data", "..", True),
        ("data", ".", True),
    ],
)
def test_data_and_outputs_typed_from_a_folder_beside_them_are_found(data, output_dir, there, tmp_path, monkeypatch):
    """A path that leads up further than the outputs' is not guessed at."""
    monkeypatch.chdir(tmp_path / "..")
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    below = [part for part in Path(output_dir).parts if part != ".."]
    config = home.joinpath(*below) / "experiment" / "method" / "run" / "config.yml"
    found = anchored(Path(data), config, "method", Path(output_dir))
    assert found == (home / "data" if there else Path(data))


@pytest.fixture
def original(volanim_config, tmp_path):
    """`original(data=...)`: a finished run in nerfstudio's own folders, whose configuration names that very place."""

    def build(data=None):
        config = yaml.load(volanim_config.read_text("utf8"), Loader=yaml.Loader)
        config.output_dir = tmp_path / "outputs"
        # As ns-train leaves it that went on from an earlier run's checkpoint.
        config.load_step = 2
        if data is not None:
            config.data = config.pipeline.datamanager.data = data
        shutil.copytree(volanim_config.parent, config.get_base_dir())
        config.save_config()
        return config.get_base_dir()

    return build


def _checkpoints(folder, path):
    """What is loaded from a run, and what is said of it before."""
    from nerfstudio_avatars.avatars.inspection.runs import read_run

    facts = {fact.name: fact.value for fact in read_run(path).facts}
    run = load_run(path)
    assert run.step + 1 == facts["steps done"] and run.checkpoint == pathlib.Path(facts["checkpoint"])
    return run.checkpoint.relative_to(folder).as_posix()


def test_a_copied_run_keeps_its_own_checkpoint(original, tmp_path, monkeypatch, capsys):
    """Whatever becomes of the original."""
    trained = original()
    best = tmp_path / "best"
    shutil.copytree(trained, best)
    models = trained / "nerfstudio_models"
    (models / "step-000000003.ckpt").rename(models / "step-000000099.ckpt")
    (best / "nerfstudio_models" / "notes-of.mine.txt").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert _checkpoints(tmp_path, best) == "best/nerfstudio_models/step-000000003.ckpt"
    assert _checkpoints(tmp_path, trained) == f"{models.relative_to(tmp_path)}/step-000000099.ckpt"
    assert "no checkpoint beside" not in capsys.readouterr().out
    shutil.move(tmp_path / "outputs", tmp_path / "old")
    assert _checkpoints(tmp_path, best) == "best/nerfstudio_models/step-000000003.ckpt"
    monkeypatch.chdir(best)
    assert load_run(pathlib.Path("config.yml")).step == 3


@pytest.mark.parametrize("name", ["best", "unsup-volanim-tiny/best", "other/unsup-volanim-tiny/best"])
def test_a_configuration_alone_takes_the_checkpoint_that_it_names_and_says_so(name, original, tmp_path, capsys):
    trained = original()
    (tmp_path / name).mkdir(parents=True)
    shutil.copy(trained / "config.yml", tmp_path / name)
    assert _checkpoints(trained, tmp_path / name) == "nerfstudio_models/step-000000003.ckpt"
    said = capsys.readouterr().out.replace("\n", "")
    assert f"There is no checkpoint beside {tmp_path / name / 'config.yml'}" in said
    shutil.rmtree(tmp_path / "outputs")
    with pytest.raises(UserError, match=f"{tmp_path / name / 'nerfstudio_models'}: no checkpoint"):
        load_run(tmp_path / name)


@pytest.mark.parametrize("data", ["gone", "/nowhere/gone"])
def test_data_that_are_gone_are_told_without_an_option_that_there_is_not(data, original):
    with pytest.raises(UserError) as error:
        load_run(original(pathlib.Path(data)), need_data=True)
    said = str(error.value)
    assert said.startswith(f"{data}: no such") and "config.yml was trained on" in said and "--data" not in said
    assert ("run the command in the folder" in said) == (data == "gone")
