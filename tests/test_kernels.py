"""Compiled kernels that were kept by another version of the package."""

import importlib.util
import sys

import pytest

pytest.importorskip("numba")

from nerfstudio_avatars import kernels

SOURCE = """
from typing import NamedTuple
from nerfstudio_avatars.kernels import njit

class {name}(NamedTuple):
    value: float

@njit(cache=True)
def twice(number):
    return 2 * number.value

result = twice({name}(21.0))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the module anew, as another process would, with a type of this name."""

    def run_with(name):
        path = tmp_path / "kept_kernels.py"
        path.write_text(SOURCE.format(name=name))
        spec = importlib.util.spec_from_file_location("kept_kernels", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "kept_kernels", module)
        spec.loader.exec_module(module)
        assert module.result == 42
        return sum(module.twice.stats.cache_hits.values())

    return run_with


def test_a_kernel_is_compiled_once(run):
    assert [run("Number"), run("Number")] == [0, 1]


def test_types_that_have_gone_are_no_error(run):
    assert [run("Number"), run("Renamed")] == [0, 0]


def test_a_change_of_any_kernels_file_compiles_all_anew(run, monkeypatch):
    run("Number")
    monkeypatch.setattr(kernels, "_sources", lambda: (("another.py", 0.0, 0),))
    assert run("Number") == 0


def test_all_files_with_kernels_count():
    names = {name for name, _, _ in kernels._sources()}
    assert {
        "_numba_cells.py",
        "_numba_picture.py",
        "_numba_composition.py",
        "_numba_trials.py",
        "rasteriser.py",
    } <= names
