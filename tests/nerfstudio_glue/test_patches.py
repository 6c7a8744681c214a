"""Each breakage of nerfstudio, and that it is one no more."""

import io
import os
import re
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from nerfstudio_avatars.nerfstudio_glue import known_warnings, patches


@pytest.mark.slow
def test_checkpoints_with_numpy_scalars_load():
    """A fresh process shows that torch refuses without the healing: what is allowed stays so for a process."""
    code = """
import io, numpy as np, torch
from nerfstudio_avatars.nerfstudio_glue import patches
file = io.BytesIO()
torch.save({"lr": np.float64(0.5) * 1}, file)
for heal in (False, True):
    if heal:
        patches.allow_scheduler_scalars()
    file.seek(0)
    try:
        print(torch.load(file)["lr"])
    except Exception as error:
        print(type(error).__name__)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["UnpicklingError", "0.5"]


def test_other_objects_stay_refused():
    patches.allow_scheduler_scalars()
    file = io.BytesIO()
    torch.save({"x": np.random.default_rng}, file)
    file.seek(0)
    with pytest.raises(Exception, match="[Uu]nsupported|weights_only|Weights only"):
        torch.load(file)


def test_ffmpeg_is_found_where_there_is_none(tmp_path, monkeypatch):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert shutil.which("ffmpeg") is None
    patches.provide_ffmpeg(tmp_path / "bin")
    found = shutil.which("ffmpeg")
    assert os.path.samefile(found, imageio_ffmpeg.get_ffmpeg_exe())
    path = os.environ["PATH"]
    patches.provide_ffmpeg(tmp_path / "bin")
    assert os.environ["PATH"] == path
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("ffmpeg version")


def test_an_existing_ffmpeg_is_kept(tmp_path, monkeypatch):
    own = tmp_path / "ffmpeg"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    patches.provide_ffmpeg(tmp_path / "bin")
    assert shutil.which("ffmpeg") == str(own) and not (tmp_path / "bin").exists()


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_folder_that_others_can_write_to_is_not_trusted(tmp_path, monkeypatch):
    pytest.importorskip("imageio_ffmpeg")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin").chmod(0o777)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    patches.provide_ffmpeg(tmp_path / "bin")
    assert shutil.which("ffmpeg") is None


def test_openmp_waits_calmly_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "77")
    patches.calm_openmp()
    assert os.environ["OMP_WAIT_POLICY"] == "passive" and os.environ["GOMP_SPINCOUNT"] == "77"


@pytest.mark.parametrize("known", known_warnings.KNOWN_WARNINGS, ids=lambda known: known.message[:20])
def test_known_warnings_are_left_out_with_a_reason_and_others_are_not(known):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        known_warnings.quieten()
        warnings.warn("something else", known.category, stacklevel=1)
        said = re.sub(r"\\|\(_method\)\?", "", known.message)
        warnings.warn(re.sub(r"\((\w+)\|[\w|]+\)", r"\1", said) + " and more", known.category, stacklevel=1)
    assert [str(one.message) for one in seen] == ["something else"]
    assert len(known.reason) > 20


@pytest.mark.parametrize(("program", "quiet"), [("/bin/ns-train", True), ("ns-eval.exe", True), ("python.py", False)])
def test_only_nerfstudios_commands_are_quiet_from_the_start(program, quiet, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program, "method"])
    with warnings.catch_warnings():
        warnings.resetwarnings()
        known_warnings.when_torch_is_imported()
        assert len(warnings.filters) == quiet * len(known_warnings.KNOWN_WARNINGS)


def test_the_module_itself_is_light():
    code = "import sys, nerfstudio_avatars.nerfstudio_glue.patches; print({'torch', 'nerfstudio'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"


@pytest.mark.slow
@pytest.mark.parametrize("first", ["", "import nerfstudio.configs.method_configs"])
def test_the_viewer_listens_on_this_computer_unless_told_otherwise(first):
    """A fresh process, as `ns-viewer` is one: its own options, the default of all other methods, and its help."""
    code = f"""
{first}
from nerfstudio.scripts.viewer.run_viewer import RunViewer
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.configs.method_configs import method_configs
import tyro
for more in ([], ["--viewer.websocket-host", "0.0.0.0"]):
    asked = tyro.cli(tyro.conf.FlagConversionOff[RunViewer], args=["--load-config", "x", *more])
    shown = asked.viewer.as_viewer_config()
    print(type(shown).__name__, shown.websocket_host, shown.websocket_port_default)
print(ViewerConfig().websocket_host, method_configs["nerfacto"].viewer.websocket_host)
tyro.cli(tyro.conf.FlagConversionOff[RunViewer], args=["--help"])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    local, asked, others, *shown = out.splitlines()
    assert (local, asked) == ("ViewerConfig 127.0.0.1 7007", "ViewerConfig 0.0.0.0 7007")
    assert others == "0.0.0.0 0.0.0.0"
    said = " ".join("".join(shown).replace("│", " ").split())
    assert "The host address to bind the websocket server to. (default: 127.0.0.1)" in said


def test_other_options_made_from_the_viewers_stay_as_they_are():
    from dataclasses import dataclass

    from nerfstudio.configs.base_config import ViewerConfig

    patches.keep_viewer_local()

    @dataclass
    class Mine(ViewerConfig):
        more: int = 1

    assert Mine().websocket_host == ViewerConfig().websocket_host == "0.0.0.0"
