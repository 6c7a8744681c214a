"""Examples in docstrings run as they stand, and public names are stated."""

import doctest
import importlib
import pkgutil

import pytest

import nerfstudio_avatars

ROOMS = ("avatars", "bodies", "motion", "whole_files", "progress")
"""Where a user would start."""


def modules():
    found = [f"nerfstudio_avatars.{room}" for room in ROOMS]
    for room in list(found):
        folder = getattr(importlib.import_module(room), "__path__", ())
        found += [f"{room}.{module.name}" for module in pkgutil.iter_modules(folder)]
    return found


def examples_of(name):
    return [one for one in doctest.DocTestFinder().find(importlib.import_module(name)) if one.examples]


@pytest.mark.parametrize("name", modules())
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for example in examples_of(name):
        said = []
        failed, _ = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=said.append)
        assert not failed, "".join(said)


@pytest.mark.parametrize(
    "name",
    ["bodies.rotations", "bodies.body_sequence", "bodies.standin", "bodies.smpl", "motion.loading", "avatars.mesh"]
    + ["avatars.cameras", "bodies.body_model", "motion.staging"],
)
def test_where_a_user_starts_there_is_an_example(name):
    assert examples_of(f"nerfstudio_avatars.{name}")


def test_what_the_package_offers_is_there():
    assert all(hasattr(nerfstudio_avatars, name) for name in nerfstudio_avatars.__all__)
    assert dir(nerfstudio_avatars) == sorted(nerfstudio_avatars.__all__)
