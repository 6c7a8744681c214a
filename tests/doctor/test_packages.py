"""Python, packages and versions, with what is missing faked."""

import sys
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from packaging.specifiers import SpecifierSet

from nerfstudio_avatars import backend
from nerfstudio_avatars.doctor import packages

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf8"))["project"]


def test_what_is_expected_is_what_the_project_declares():
    assert set(packages.METHODS) == set(PROJECT["entry-points"]["nerfstudio.method_configs"])
    allowed = SpecifierSet(PROJECT["requires-python"])
    told = [minor for minor in range(5, 30) if packages.python((3, minor)).status == "ok"]
    assert told == [minor for minor in range(5, 30) if allowed.contains(f"3.{minor}.1")]


def test_a_python_that_is_too_new_stops_training():
    assert packages.python((3, 13)).stops_training


def test_a_package_that_is_absent_or_too_old_is_named_with_the_command_that_installs_it(monkeypatch):
    required = ["numpy>=999", "not-there-at-all>=1", "torch>=2", "only-on-mars>=1; platform_system == 'Mars'"]
    monkeypatch.setattr(metadata, "requires", lambda _name: required)
    finding = packages.requirements()
    assert finding.status == "missing" and finding.stops_training
    assert finding.remedy == "pip install 'numpy>=999' 'not-there-at-all>=1'"
    assert f"numpy: found {metadata.version('numpy')}, expected >=999" in finding.found


def test_a_package_that_is_only_on_the_path_is_told_to_be_installed(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert packages.requirements().stops_training


def test_a_package_that_is_installed_but_does_not_import_stops_training(monkeypatch):
    assert packages.compiled().status == "ok"
    monkeypatch.setitem(sys.modules, "cv2", None)
    finding = packages.compiled()
    assert finding.stops_training and finding.remedy == "pip install --force-reinstall opencv-python-headless"


def test_a_method_that_nerfstudio_does_not_see_stops_training(monkeypatch):
    points = [SimpleNamespace(name=name) for name in packages.METHODS[1:]]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points)
    finding = packages.registration()
    assert finding.stops_training and finding.found == f"nerfstudio does not see {packages.METHODS[0]}"


def test_without_torch_the_pair_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    finding = packages.torch_pair()
    assert finding.stops_training and "torch does not import" in finding.found
    assert not packages.torch_imports()


def test_a_torchvision_of_another_torch_is_no_pair(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda _name: ["numpy", "torch==1.13.1"])
    finding = packages.torch_pair()
    assert finding.stops_training and "this torchvision needs torch==1.13.1" in finding.found


def test_the_build_of_a_torch_does_not_matter_to_the_pair(monkeypatch):
    public = metadata.version("torch").partition("+")[0]
    monkeypatch.setattr(metadata, "requires", lambda _name: [f"torch=={public}"])
    monkeypatch.setattr(packages, "_version", lambda name: {"torch": f"{public}+cu126"}.get(name, "1"))
    assert packages.torch_pair().status == "ok"


def test_compiled_operators_that_cannot_be_loaded_are_no_pair(tmp_path, monkeypatch):
    (tmp_path / "_C.so").write_bytes(b"not a library")
    spec = ModuleSpec("torchvision", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda _name: spec)
    finding = packages.torch_pair()
    assert finding.stops_training and "do not work together" in finding.found


def test_without_numba_the_hot_loops_are_slow_and_say_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(backend, "_numba_imports", lambda: False)
    finding = packages.hot_loops()
    assert (finding.status, finding.remedy) == ("slow", "pip install --upgrade numba")
    assert "ModuleNotFoundError" in finding.found and not finding.stops_training


def test_a_forced_specification_is_slow(monkeypatch):
    monkeypatch.setenv("NERFSTUDIO_AVATARS_BACKEND", "torch")
    assert packages.hot_loops().remedy == "unset NERFSTUDIO_AVATARS_BACKEND"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_without_a_gpu_numba_runs_the_hot_loops():
    pytest.importorskip("numba")
    assert packages.hot_loops().status == "ok"


@pytest.mark.parametrize(("triton", "status"), [(True, "ok"), (False, "slow")])
def test_on_a_gpu_triton_runs_them_or_they_are_slow(triton, status, monkeypatch):
    zeros = torch.zeros
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda size, device="cpu": zeros(size))
    monkeypatch.setattr(backend, "use_triton", lambda _x: triton)
    assert packages.hot_loops().status == status


def test_tiny_cuda_nn_is_needed_nowhere(monkeypatch):
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    for gpu in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        assert packages.tiny_cuda_nn().status == "ok"
