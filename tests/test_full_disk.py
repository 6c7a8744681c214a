"""What commands say on a full disk, and what they leave there: one line, and nothing."""

from contextlib import contextmanager

import pytest

from nerfstudio_avatars import cli

resource = pytest.importorskip("resource", reason="POSIX limits")

COMMANDS = {
    "demo-data": ["demo-data", "{out}/drawn", "--format", "voxceleb", "--size", "16"],
    "inspect": ["inspect", "walk", "--sheet", "{out}/walk.png"],
    "evaluate": ["evaluate", "--load-config", "{person}", "--output", "{out}/figures"],
    "invert": ["invert", "--load-config", "{heads}", "--image", "{image}", "--output", "{out}/me.npz"],
}


@contextmanager
def no_file_larger_than(size):
    """Lets the system refuse to write more into any file, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_full_disk_is_one_line_and_leaves_nothing(verb, person_config, volanim_config, head_clips, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    image = next((head_clips / "train").rglob("*.png"))
    places = {"out": out, "person": person_config, "heads": volanim_config, "image": image}
    words = [word.format(**places) for word in COMMANDS[verb]]
    with pytest.raises(SystemExit) as end, no_file_larger_than(500):
        cli.main(words)
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.startswith("ns-avatar: ") and said.count("\n") == 1, said
    assert "File too large" in said or "No space left" in said
    assert [path for path in out.rglob("*") if path.is_file()] == []
