"""What an installed copy offers to nerfstudio and to the shell, and what it may be installed with."""

import importlib
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import nerfstudio_avatars

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
GROUPS = ("nerfstudio.method_configs", "nerfstudio.dataparser_configs")


def _declared(group):
    return PROJECT["entry-points"][group]


@pytest.mark.parametrize("group", GROUPS)
def test_what_the_project_declares_is_installed(group):
    """Fails where the editable install is older than pyproject.toml: install again."""
    installed = {point.name: point.value for point in metadata.entry_points(group=group)}
    assert _declared(group).items() <= installed.items()


def test_methods_are_registered_under_their_own_names():
    """nerfstudio finds a method by the name in its configuration, and saved runs carry that name."""
    from nerfstudio.plugins.types import MethodSpecification

    for name, value in _declared("nerfstudio.method_configs").items():
        module, _, attribute = value.partition(":")
        specification = getattr(importlib.import_module(module), attribute)
        assert isinstance(specification, MethodSpecification)
        assert specification.config.method_name == name
        assert specification.description


def test_dataparsers_are_registered():
    from nerfstudio.plugins.registry_dataparser import DataParserSpecification

    for value in _declared("nerfstudio.dataparser_configs").values():
        module, _, attribute = value.partition(":")
        assert isinstance(getattr(importlib.import_module(module), attribute), DataParserSpecification)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["nerfstudio_avatars.methods", "nerfstudio_avatars.dataparsers"])
def test_either_entry_point_may_be_imported_first(first):
    """nerfstudio imports the two groups at different moments; a circle between them would break every ns-* command."""
    code = f"import {first}; import nerfstudio.configs.method_configs as m; assert 'instant-avatar' in m.all_methods"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


def test_the_package_itself_imports_nothing_and_knows_its_version():
    code = "import sys, nerfstudio_avatars; print([m for m in ('torch', 'numpy', 'nerfstudio') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
    assert metadata.version("nerfstudio-avatars") == nerfstudio_avatars.__version__


def test_the_stand_in_body_and_the_typing_marker_are_in_the_package():
    package = Path(nerfstudio_avatars.__file__).parent
    assert (package / "assets" / "standin_smpl_neutral.npz").is_file()
    assert (package / "py.typed").is_file()


def _pins():
    lines = (ROOT / "constraints.txt").read_text("utf8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_constraints_are_exact_versions_from_a_registry():
    for line in _pins():
        assert re.fullmatch(r'[a-z0-9._-]+==[0-9][\w.!]*(; python_version (<|>=) "3\.11")?', line), line


@pytest.mark.parametrize("package", ["torch", "torchvision", "nerfstudio", "numba", "smplx", "numpy", "pytest", "ruff"])
def test_what_matters_is_pinned(package):
    assert any(line.startswith(f"{package}==") for line in _pins())


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_only_nerfstudio_itself_is_tied_to_one_version_for_users(requirement):
    assert ("==" in requirement.partition(";")[0]) == requirement.startswith("nerfstudio==")
