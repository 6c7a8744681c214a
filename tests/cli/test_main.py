"""The command line: help, options, and how mistakes are told."""

import os
import subprocess
import sys

import pytest

from nerfstudio_avatars import cli
from nerfstudio_avatars.cli import verbs
from nerfstudio_avatars.errors import UserError


@pytest.mark.parametrize(("typed", "meant"), [("anmate", "animate"), ("evalute", "evaluate"), ("mask", "masks")])
def test_a_mistyped_verb_gets_a_suggestion(typed, meant, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([typed, "--help"])
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"ns-avatar: {typed}: there is no such verb. Did you mean `ns-avatar {meant}`?")


@pytest.mark.parametrize("words", [[], ["qqqq"], ["--load-config", "run"]])
def test_without_a_verb_the_way_to_help_is_named(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert "`ns-avatar --help`" in err and "Did you mean" not in err


def test_a_verb_may_be_typed_with_underscores():
    assert verbs.parse(["demo_data", "drawn"]).format == "people-snapshot"


def test_a_wrong_option_is_a_message_on_stderr_with_code_2(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["animate", "--load-config", "run", "--colour", "red"])
    out, err = capsys.readouterr()
    assert end.value.code == 2
    assert "--colour" in err and "examples:" not in out


def test_shell_completion_knows_every_verb(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--tyro-print-completion", "bash"])
    assert not end.value.code
    out = capsys.readouterr().out
    assert all(name in out for name in verbs.entries())


def test_options_reach_the_verb():
    command = verbs.parse(
        ["animate", "--load-config", "run", "--motion", "run", "--camera", "turning", "--width", "64"]
    )
    assert (str(command.load_config), command.motion, command.camera, command.width) == ("run", "run", "turning", 64)


def test_a_mistake_is_one_message_and_code_2(monkeypatch, capsys):
    class Failing:
        def run(self):
            raise UserError("thing.npz: found 3, expected 4, do this.")

    monkeypatch.setattr(verbs, "parse", lambda _args: Failing())
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert end.value.code == 2
    assert capsys.readouterr().err == "ns-avatar: thing.npz: found 3, expected 4, do this.\n"


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda folder: (folder / "none").read_text(), "none: No such file or directory"),
        (lambda folder: (folder / "file" / "x").mkdir(parents=True), "x: Not a directory"),
        (lambda folder: os.rename(folder / "file", folder / "none" / "x"), "file: No such file or directory"),
        (lambda folder: os.listdir(os.fsencode(folder / "none")), "none: No such file or directory"),
    ],
)
def test_a_place_that_the_system_refuses_is_one_line_and_code_2(work, said, tmp_path, monkeypatch, capsys):
    class Failing:
        def run(self):
            (tmp_path / "file").touch()
            work(tmp_path)

    monkeypatch.setattr(verbs, "parse", lambda _args: Failing())
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert end.value.code == 2
    said_in_full = capsys.readouterr().err
    assert said_in_full.startswith(f"ns-avatar: {tmp_path}") and said_in_full.endswith(f"{said}\n")


def test_an_error_of_the_system_about_no_file_keeps_its_traceback(monkeypatch):
    class Failing:
        def run(self):
            raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(verbs, "parse", lambda _args: Failing())
    with pytest.raises(OSError, match="allocate"):
        cli.main([])


def test_a_defect_of_the_program_keeps_its_traceback(monkeypatch):
    class Failing:
        def run(self):
            raise ZeroDivisionError

    monkeypatch.setattr(verbs, "parse", lambda _args: Failing())
    with pytest.raises(ZeroDivisionError):
        cli.main([])


def _in_fresh_python(code, **variables):
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")} | variables
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


PROBE = """
import os, sys
from nerfstudio_avatars import cli
try:
    cli.main(["--help"])
except SystemExit:
    pass
print("torch" in sys.modules, os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"])
"""


def test_help_imports_no_torch_and_idle_threads_are_told_to_sleep_before_it_comes():
    assert _in_fresh_python(PROBE).splitlines()[-1] == "False passive 0"


def test_a_users_own_choice_of_thread_policy_stays():
    assert _in_fresh_python(PROBE, OMP_WAIT_POLICY="active").splitlines()[-1] == "False active 0"


def test_a_reader_that_has_enough_is_no_fault():
    """`ns-avatar animate --help | head -0`."""
    command = [sys.executable, "-m", "nerfstudio_avatars.cli", "animate", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 141


def _help_with_output(redirected):
    """What `ns-avatar --help` says on stderr, and its exit code, with standard output redirected by a shell."""
    command = f"exec {sys.executable} -m nerfstudio_avatars.cli --help {redirected}"
    done = subprocess.run(
        ["sh", "-c", command], check=False, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    return done.stderr, done.returncode


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has this device")
def test_an_output_that_takes_no_more_is_one_line_and_code_2():
    assert _help_with_output("> /dev/full") == ("ns-avatar: standard output: No space left on device\n", 2)


@pytest.mark.skipif(os.name == "nt", reason="POSIX shells")
def test_a_closed_output_is_no_fault():
    assert _help_with_output(">&-") == ("", 0)
