"""The whole examination."""

import sys

import pytest

from nerfstudio_avatars.doctor import Finding, can_train, examine


def test_this_machine_which_runs_the_tests_can_train_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    findings = examine()
    assert can_train(findings) and not list(tmp_path.iterdir())
    assert len({finding.topic for finding in findings}) == len(findings)


def test_whatever_is_not_ok_has_a_remedy():
    assert all(bool(finding.remedy) == (finding.status != "ok") for finding in examine())


def test_without_torch_the_rest_is_still_examined(monkeypatch):
    with_torch = {finding.topic for finding in examine()}
    for name in ("torch", "torchvision"):
        monkeypatch.setitem(sys.modules, name, None)
    findings = examine()
    assert not can_train(findings)
    gone = with_torch - {finding.topic for finding in findings}
    assert {"device", "hot loops"} <= gone and "ffmpeg" not in gone


@pytest.mark.parametrize("stops", [True, False])
def test_one_finding_that_stops_training_is_enough(stops):
    fine = Finding("a", "ok", "is there")
    assert can_train([fine, Finding("b", "missing", "is not", "do", stops_training=stops)]) is not stops
