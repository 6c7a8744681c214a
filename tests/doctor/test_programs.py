"""ffmpeg and browsers, absent, broken and present."""

import shutil

import pytest

from nerfstudio_avatars.doctor import programs


def _program(folder, name, script):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_without_a_machines_ffmpeg_the_packages_own_is_told(monkeypatch):
    pytest.importorskip("imageio_ffmpeg")
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    finding = programs.ffmpeg()
    assert finding.status == "ok" and "imageio-ffmpeg's" in finding.found


def test_without_any_ffmpeg_there_is_a_remedy(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr(programs, "_packaged_ffmpeg", lambda: None)
    assert (programs.ffmpeg().status, programs.ffmpeg().remedy) == ("missing", "pip install imageio-ffmpeg")


def test_the_machines_ffmpeg_comes_first_and_has_to_run(tmp_path, monkeypatch):
    program = _program(tmp_path, "ffmpeg", 'echo "ffmpeg version 9.9 Copyright"')
    monkeypatch.setattr(shutil, "which", lambda _name: str(program))
    assert programs.ffmpeg().found == f"9.9, the machine's: {program}"
    _program(tmp_path, "ffmpeg", "exit 3")
    assert programs.ffmpeg().status == "missing"


def test_a_viewer_without_browser_or_display_is_reached_from_elsewhere(monkeypatch):
    monkeypatch.setattr(programs.platform, "release", lambda: "6.1")
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert programs.browser("Linux", {"DISPLAY": ":0"}).remedy.startswith("ssh -L 7007:localhost:7007")
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/firefox" if name == "firefox" else None)
    assert programs.browser("Linux", {}).status == "missing"
    assert programs.browser("Linux", {"WAYLAND_DISPLAY": "wayland-0"}).status == "ok"


@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_some_systems_always_have_a_browser(system):
    assert programs.browser(system, {}).status == "ok"
