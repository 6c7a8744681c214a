"""`ns-avatar doctor`: what is printed, and the code it ends with."""

import json

import pytest

from nerfstudio_avatars import cli, doctor
from nerfstudio_avatars.doctor import Finding

FINE = Finding("ffmpeg", "ok", "9.9")
SLOW = Finding("device", "slow", "no CUDA GPU", "ns-train instant-avatar-cpu --data DATA")
ABSENT = Finding("SMPL", "missing", "no file", "export X=1", details=tuple(f"looked in {n}" for n in range(9)))
FATAL = Finding("torch", "missing", "no torch", "pip install torch", stops_training=True)


@pytest.fixture
def found(monkeypatch):
    """`found(findings)`: what the examination will say."""
    return lambda *findings: monkeypatch.setattr(doctor, "examine", lambda: list(findings))


def test_every_finding_is_told_with_its_remedy(found, capsys):
    found(FINE, SLOW, ABSENT)
    cli.main(["doctor"])
    said = capsys.readouterr().out
    assert "device  slow     no CUDA GPU\n" in said
    assert all(f"-> {finding.remedy}\n" in said for finding in (SLOW, ABSENT))
    assert "looked in 3" in said and "looked in 4" not in said and "and 5 more" in said
    assert "Training can run here.\nSlower than it could be: device.\n" in said


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_stops_training_ends_with_code_1(options, found, capsys):
    found(FINE, FATAL)
    with pytest.raises(SystemExit) as end:
        cli.main(["doctor", *options])
    assert end.value.code == 1
    assert "torch" in capsys.readouterr().out


def test_json_holds_everything(found, capsys):
    found(FINE, ABSENT)
    cli.main(["doctor", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["can_train"] is True
    assert [one["topic"] for one in said["findings"]] == ["ffmpeg", "SMPL"]
    assert len(said["findings"][1]["details"]) == 9
