"""SMPL files: found in the usual places, checked, converted once."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from nerfstudio_avatars.bodies import smpl_files, smpl_search
from nerfstudio_avatars.bodies.smpl import load_body
from nerfstudio_avatars.bodies.smpl_files import read_smpl
from nerfstudio_avatars.bodies.smpl_search import find_smpl
from nerfstudio_avatars.bodies.standin import STANDIN_FILE, load_standin
from nerfstudio_avatars.errors import DataError


@pytest.fixture(autouse=True)
def empty_machine(tmp_path, monkeypatch):
    """A machine without SMPL: other home, other working directory, other cache."""
    for name in smpl_search.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NERFSTUDIO_AVATARS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "work")
    smpl_search.warn_of_standin.cache_clear()


@pytest.fixture(scope="module")
def fields() -> dict[str, np.ndarray]:
    """A body of 300 vertices with SMPL's fields, cut out of the stand-in."""
    with np.load(STANDIN_FILE) as file:
        fields = {key: file[key] for key in file.files if key not in ("J", "bs_style", "bs_type")}
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(fields["v_template"]), 300, replace=False))
    fields |= {key: fields[key][chosen] for key in ("v_template", "shapedirs", "posedirs", "weights")}
    fields["J_regressor"] = rng.dirichlet(np.full(300, 0.05), 24)
    fields["f"] = rng.integers(0, 300, (500, 3)).astype(np.uint32)
    return fields


def as_pickle(path: Path, fields: dict) -> Path:
    """As the official files are: doubles, a sparse regressor, 300 shape directions, text beside them."""
    shapedirs = np.concatenate([fields["shapedirs"], np.ones((len(fields["shapedirs"]), 3, 290))], -1)
    sparse = scipy.sparse.csc_matrix(fields["J_regressor"])
    content = {**fields, "shapedirs": shapedirs, "J_regressor": sparse, "bs_type": "lrotmin"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def as_npz(path: Path, fields: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **fields)
    return path


def test_pickle_npz_and_torch_files_give_the_same_body(tmp_path, fields, random_pose):
    torch_file = tmp_path / "SMPL_NEUTRAL.pth"
    posedirs = torch.from_numpy(fields["posedirs"]).flatten(0, 1).T.contiguous()
    tensors = {key: torch.from_numpy(value.astype(np.float64)) for key, value in fields.items()}
    torch.save(
        {**tensors, "kintree_table": torch.from_numpy(fields["kintree_table"]), "posedirs": posedirs}, torch_file
    )
    paths = as_pickle(tmp_path / "a.pkl", fields), as_npz(tmp_path / "a.npz", fields), torch_file
    posed = [load_body(path).pose(random_pose(0)) for path in paths]
    assert posed[0].vertices.shape == (300, 3)
    for other in posed[1:]:
        torch.testing.assert_close(other.vertices, posed[0].vertices, atol=1e-6, rtol=0)


def test_a_file_is_converted_once(tmp_path, fields, monkeypatch):
    path = as_pickle(tmp_path / "SMPL_MALE.pkl", fields)
    first = read_smpl(path)
    (cached,) = (tmp_path / "cache").iterdir()
    assert cached.suffix == ".npz"
    monkeypatch.setattr(smpl_files, "_read", lambda path: pytest.fail("converted again"))
    again = read_smpl(path)
    for name, value in vars(first).items():
        np.testing.assert_array_equal(getattr(again, name), value)


def test_a_damaged_copy_in_the_cache_is_made_again(tmp_path, fields):
    path = as_pickle(tmp_path / "SMPL_MALE.pkl", fields)
    first = read_smpl(path)
    (cached,) = (tmp_path / "cache").iterdir()
    cached.write_bytes(cached.read_bytes()[:5000])
    np.testing.assert_array_equal(read_smpl(path).v_template, first.v_template)
    with np.load(cached) as file:
        np.testing.assert_array_equal(file["v_template"], first.v_template)


def test_a_cache_that_cannot_be_written_stops_nobody(tmp_path, fields, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NERFSTUDIO_AVATARS_CACHE", str(tmp_path / "file"))
    assert read_smpl(as_npz(tmp_path / "a.npz", fields)).v_template.shape == (300, 3)


@pytest.mark.parametrize(
    "place",
    [
        "SMPL_NEUTRAL.pkl",
        "data/SMPLX/smpl/SMPL_NEUTRAL.pkl",
        "data/smpl/SMPL_NEUTRAL.pkl",
        "data/basicModel_neutral_lbs_10_207_0_v1.0.0.pkl",
        "body_models/smpl/neutral/model.pkl",
        "SMPL_python_v.1.1.0/smpl/models/basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl",
        "smpl-meta/SMPL_NEUTRAL.pkl",
        "assets/smpl_neutral.pkl",
        "../home/.cache/phalp/3D/models/smpl/SMPL_NEUTRAL.pkl",
        "../home/.cache/4DHumans/data/smpl/SMPL_NEUTRAL.pkl",
        "../home/.romp/SMPL_NEUTRAL.pkl",
    ],
)
def test_smpl_is_found_in_the_usual_places(fields, place):
    as_pickle(Path(place), fields)
    for name in ("smpl", "auto"):
        body = load_body(name)
        assert body.name == "smpl" and len(body.weights) == 300


@pytest.mark.parametrize("variable", smpl_search.VARIABLES)
@pytest.mark.parametrize("place", ["mine", "mine/smpl/SMPL_FEMALE.npz"])
def test_the_environment_names_a_file_or_folder_and_comes_first(tmp_path, fields, monkeypatch, variable, place):
    own = as_npz(tmp_path / "mine/smpl/SMPL_FEMALE.npz", fields)
    as_npz(Path("SMPL_FEMALE.npz"), fields)
    monkeypatch.setenv(variable, str(tmp_path / place))
    assert find_smpl("female").path == own


@pytest.mark.parametrize(("gender", "letter"), [("male", "m"), ("female", "f")])
def test_each_gender_has_its_own_file(fields, gender, letter):
    for name in ("m", "f"):
        as_pickle(Path(f"data/basicmodel_{name}_lbs_10_207_0_v1.1.0.pkl"), fields)
    assert find_smpl(gender).path.name == f"basicmodel_{letter}_lbs_10_207_0_v1.1.0.pkl"
    assert load_body("smpl", gender).gender == gender
    assert find_smpl("neutral").path is None


def test_an_npz_is_preferred_to_a_pickle(fields):
    as_pickle(Path("SMPL_NEUTRAL.pkl"), fields)
    as_npz(Path("SMPL_NEUTRAL.npz"), fields)
    assert find_smpl().path.name == "SMPL_NEUTRAL.npz"


def test_without_files_the_error_says_what_was_looked_for_and_how_to_go_on(tmp_path, fields):
    as_npz(Path("data/smplx/SMPLX_NEUTRAL.npz"), fields)
    with pytest.raises(DataError) as error:
        load_body("smpl")
    message = str(error.value)
    for part in (
        "SMPL_NEUTRAL.pkl",
        "basicmodel_neutral",
        "data",
        ".romp",
        "SMPLX_NEUTRAL.npz",
        "--body standin",
        "$SMPL",
    ):
        assert part in message


def test_a_path_that_is_not_there_is_not_replaced_by_another_file(fields):
    as_npz(Path("SMPL_NEUTRAL.npz"), fields)
    with pytest.raises(DataError, match="does not exist"):
        load_body("elsewhere/SMPL_NEUTRAL.npz")


def test_auto_without_files_takes_the_standin_and_says_so_once(caplog):
    with caplog.at_level(logging.WARNING):
        assert load_body("auto") is load_standin()
        assert load_body() is load_standin()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "STAND-IN" in caplog.text and "SMPL_MODEL_PATH" in caplog.text


def test_the_standin_by_name_says_nothing(caplog):
    assert load_body("standin").name == "standin" and not caplog.records


def test_an_unknown_gender_is_an_error():
    with pytest.raises(ValueError, match="neutral, male, female"):
        load_body("smpl", "other")


def changed(fields: dict, **changes) -> dict:
    fields = {**fields, **changes}
    return {key: value for key, value in fields.items() if value is not None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fields: {"weights": None}, "no weights"),
        (lambda fields: {"v_template": np.where(np.eye(300, 3) > 0, np.nan, fields["v_template"])}, "NaN"),
        (lambda fields: {"weights": fields["weights"][:-1]}, r"weights of shape \(299, 24\)"),
        (lambda fields: {"shapedirs": fields["shapedirs"][..., :9]}, "shapedirs of shape"),
        (lambda fields: {"weights": np.ones((300, 24))}, "sum to 24"),
        (lambda fields: {"f": np.array([[0, 1, 300]])}, "vertices 0 to 300"),
        (lambda fields: {"kintree_table": np.zeros((2, 24), int)}, "kinematic tree"),
        (lambda fields: {"weights": np.ones((300, 55)) / 55}, "SMPL-X model, with 55 joints"),
        (lambda fields: {"weights": np.ones((300, 52)) / 52}, "SMPL-H model, with 52 joints"),
        (lambda fields: {"J_regressor": np.array([["a"] * 300] * 24)}, "J_regressor"),
    ],
)
def test_wrong_content_is_named(tmp_path, fields, change, message):
    path = as_npz(tmp_path / "SMPL_NEUTRAL.npz", changed(fields, **change(fields)))
    with pytest.raises(DataError, match=message) as error:
        load_body(path)
    assert all(word in str(error.value) for word in (str(path), "expected:", "fix:", "--body standin"))
    assert not (tmp_path / "cache").exists()


def test_objects_in_an_npz_are_not_unpickled(tmp_path, fields):
    path = as_npz(tmp_path / "objects.npz", changed(fields, weights=np.array([{}], dtype=object)))
    with pytest.raises(DataError, match="plain arrays"):
        load_body(path)


def test_a_pickle_of_something_else_is_named(tmp_path):
    path = tmp_path / "list.pkl"
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(DataError, match="a list"):
        load_body(path)
