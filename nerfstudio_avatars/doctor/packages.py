"""Checks Python, packages and their versions, whether nerfstudio knows our methods, and what runs the hot loops."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from nerfstudio_avatars.doctor.finding import Finding

_DISTRIBUTION = "nerfstudio-avatars"
_OLDEST_PYTHON, _NEWEST_PYTHON = (3, 10), (3, 12)
METHODS = (
    "instant-avatar",
    "instant-avatar-cpu",
    "instant-avatar-paper",
    "unsup-volanim",
    "unsup-volanim-paper",
    "unsup-volanim-paper-tedx",
    "unsup-volanim-tiny",
)
"""Methods that pyproject.toml registers with nerfstudio."""
COMPILED = {
    "numpy": "numpy",
    "scipy": "scipy.spatial",
    "opencv-python-headless": "cv2",
    "av": "av",
    "h5py": "h5py",
    "pillow": "PIL.Image",
}
"""Packages that may fail although their version is right, because of a missing library or another version of numpy,
and the module of each to import as a test."""
_INSTALL = f"pip install --upgrade {_DISTRIBUTION}"


def python(version: tuple[int, int] | None = None) -> Finding:
    """Checks that the packages support this version of Python."""
    version = sys.version_info[:2] if version is None else version
    found = f"{platform.python_version()} at {sys.executable}"
    if not _OLDEST_PYTHON <= version <= _NEWEST_PYTHON:
        found += ", expected 3.10 to 3.12"
        return Finding("Python", "missing", found, "make PYTHON=python3.11 install", stops_training=True)
    return Finding("Python", "ok", found)


def requirements() -> Finding:
    """Checks that every required package is installed in an allowed version."""
    try:
        required = [Requirement(line) for line in metadata.requires(_DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        found = f"{_DISTRIBUTION} is on the Python path but not installed"
        return Finding("packages", "missing", found, _INSTALL, stops_training=True)
    wanted = [one for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    versions = {one.name: _version(one.name) for one in wanted}
    wrong = [one for one in wanted if not _allowed(one, versions[one.name])]
    shown = tuple(f"{name} {version or '(not installed)'}" for name, version in sorted(versions.items()))
    if not wrong:
        return Finding("packages", "ok", f"all {len(wanted)} required packages have an allowed version", details=shown)
    said = "; ".join(
        f"{one.name}: found {versions[one.name] or 'none'}, expected {one.specifier or 'any'}" for one in wrong
    )
    remedy = "pip install " + " ".join(f"'{one.name}{one.specifier}'" for one in wrong)
    return Finding("packages", "missing", said, remedy, stops_training=True, details=shown)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _allowed(requirement: Requirement, version: str | None) -> bool:
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def compiled() -> Finding:
    """Imports the compiled packages that are needed to read data, because versions alone do not show that they work."""
    failures = {name: why for name, module in COMPILED.items() if (why := _import_failure(module)) is not None}
    if failures:
        found = "; ".join(f"{name} does not import: {why}" for name, why in failures.items())
        remedy = "pip install --force-reinstall " + " ".join(failures)
        return Finding("imports", "missing", found, remedy, stops_training=True)
    return Finding("imports", "ok", f"{', '.join(COMPILED)} can be imported")


def registration() -> Finding:
    """Checks that nerfstudio, which reads the entry points of all installed packages, sees our methods."""
    seen = {point.name for point in metadata.entry_points(group="nerfstudio.method_configs")}
    unseen = [name for name in METHODS if name not in seen]
    if unseen:
        found = f"nerfstudio does not see {', '.join(unseen)}"
        return Finding("methods", "missing", found, f"pip install --force-reinstall --no-deps {_DISTRIBUTION}", True)
    return Finding("methods", "ok", f"nerfstudio sees {', '.join(METHODS)}")


def torch_imports() -> bool:
    """Whether torch is installed and can be imported."""
    return _import_failure("torch") is None


def _import_failure(name: str) -> str | None:
    """Why a module cannot be imported, or None if it can. A broken binary may raise any error."""
    try:
        importlib.import_module(name)
    except Exception as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return None


def torch_pair() -> Finding:
    """Checks that torch and torchvision were built for each other, by running some of torchvision's compiled code."""
    topic, remedy = "torch", "pip install --upgrade --force-reinstall torch torchvision"
    failure = _import_failure("torch")
    if failure is not None:
        return Finding(topic, "missing", f"torch does not import: {failure}", remedy, stops_training=True)
    torch_version, vision_version = _version("torch"), _version("torchvision")
    pair = f"torch {torch_version} and torchvision {vision_version}"
    if vision_version is None:
        return Finding(topic, "missing", f"{pair}: nerfstudio needs both", remedy, stops_training=True)
    for line in metadata.requires("torchvision") or ():
        wanted = Requirement(line)
        if wanted.name == "torch" and not wanted.specifier.contains(Version(str(torch_version)).public):
            found = f"{pair} do not match: this torchvision needs torch{wanted.specifier}"
            return Finding(topic, "missing", found, remedy, stops_training=True)
    failure = _vision_failure()
    if failure is not None:
        return Finding(topic, "missing", f"{pair} do not work together: {failure}", remedy, stops_training=True)
    return Finding(topic, "ok", f"{pair} work together")


def _vision_failure() -> str | None:
    """Loads torchvision's compiled operators without its Python side, which takes seconds to import, and runs one."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []
    libraries = [path for folder in folders for path in sorted(folder.glob("_C*")) if path.suffix in (".so", ".pyd")]
    if not libraries:
        return _import_failure("torchvision")
    try:
        for library in libraries:
            torch.ops.load_library(str(library))
        torch.ops.torchvision.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except (OSError, RuntimeError, AttributeError) as error:
        return str(error).splitlines()[0]
    return None


def hot_loops() -> Finding:
    """Checks what runs the hot loops: numba on the CPU, Triton on a GPU, or plain torch."""
    import torch

    from nerfstudio_avatars.backend import use_numba, use_triton

    topic = "hot loops"
    forced = os.environ.get("NERFSTUDIO_AVATARS_BACKEND", "auto")
    if forced == "torch":
        found = "plain torch, which is many times slower: NERFSTUDIO_AVATARS_BACKEND=torch is set"
        return Finding(topic, "slow", found, "unset NERFSTUDIO_AVATARS_BACKEND")
    if torch.cuda.is_available():
        if use_triton(torch.zeros(1, device="cuda")):
            return Finding(topic, "ok", f"compiled by Triton {_version('triton')} for the GPU")
        found = f"plain torch on the GPU: found Triton {_version('triton') or 'not installed'}, expected 3 or newer"
        linux = platform.system() == "Linux"
        remedy = "pip install --upgrade triton" if linux else "Use Linux or WSL, where Triton comes with torch."
        return Finding(topic, "slow", found, remedy)
    if use_numba(torch.zeros(1)):
        return Finding(topic, "ok", f"compiled by numba {_version('numba')} for the CPU")
    why = _import_failure("numba") or f"NERFSTUDIO_AVATARS_BACKEND={forced}"
    return Finding(
        topic, "slow", f"plain torch on the CPU, which is many times slower: {why}", "pip install --upgrade numba"
    )


def tiny_cuda_nn() -> Finding:
    """Checks for tiny-cuda-nn, which is optional even with a GPU, and only used on request."""
    import torch

    topic = "tiny-cuda-nn"
    if not torch.cuda.is_available():
        return Finding(topic, "ok", "not needed without a GPU")
    failure = _import_failure("tinycudann")
    if failure is not None:
        return Finding(topic, "ok", "not installed and not needed: the hash encoding has its own Triton kernels")
    return Finding(topic, "ok", "installed; --pipeline.model.avatar.field.implementation tcnn selects it")
