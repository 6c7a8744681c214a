"""What contributors and the hosting are told to run is there."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text("utf8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf8"))
JOBS = WORKFLOW["jobs"]


def _recipe(target):
    return re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE).group(1)


def _steps(job):
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


@pytest.mark.parametrize("path", ["CONTRIBUTING.md", "README.md", ".ci/run", ".pre-commit-config.yaml"])
def test_every_make_target_that_is_named_exists(path):
    named = set(re.findall(r"(?:`|^|\n)make ([a-z][a-z-]*)", (ROOT / path).read_text("utf8")))
    assert named and named <= TARGETS


def test_every_target_says_what_it_does():
    assert set(re.findall(r"^# make ([a-z-]+) ", MAKEFILE, re.MULTILINE)) >= TARGETS - {"install", "clean"}


def test_the_hosting_runs_what_every_change_has_to_pass_on_each_python():
    pythons = JOBS["everything"]["strategy"]["matrix"]["python"]
    classifiers = PROJECT["project"]["classifiers"]
    assert [f"Programming Language :: Python :: {version}" for version in pythons] == classifiers[4:-2]
    assert _steps("everything") == [".ci/run"] and (ROOT / ".ci/run").stat().st_mode & 0o100


def test_the_hosting_runs_the_fast_tests_on_other_systems_as_make_does():
    systems = JOBS["fast"]["strategy"]["matrix"]["os"]
    assert {system.partition("-")[0] for system in systems} == {"macos", "windows"}
    *installs, tests = _steps("fast")
    for line in installs:
        what = shlex.split(line)[-1]
        assert what in shlex.split(_recipe(r"\$\(STAMP\)")), line
    workers = re.search(r"^WORKERS \?= (.*)$", MAKEFILE, re.MULTILINE).group(1)
    pytest_line = re.search(r"^PYTEST := \$\(BIN\)/(.*)$", MAKEFILE, re.MULTILINE).group(1)
    fast = _recipe("check").strip().removeprefix("$(PYTEST) ")
    assert tests == f"{pytest_line} {fast}".replace("$(WORKERS)", workers)


def test_hooks_before_a_commit_are_the_linters():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf8"))["repos"]
    entries = [hook["entry"].replace(" --force-exclude", "") for hook in repository["hooks"]]
    linters = [line.strip().removeprefix("$(BIN)/").removesuffix(" .") for line in _recipe("lint").splitlines()]
    assert repository["repo"] == "local" and entries == linters


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem)
def test_whoever_reports_something_is_asked_for_doctors_output(path):
    form = yaml.safe_load(path.read_text("utf8"))
    doctor = next(field for field in form["body"] if field.get("id") == "doctor")
    assert "ns-avatar doctor" in doctor["attributes"]["label"] and doctor["validations"]["required"]
    assert form["name"] and form["description"]


@pytest.mark.parametrize("marker", PROJECT["tool"]["pytest"]["ini_options"]["markers"])
def test_every_marker_marks_something(marker):
    mark = f"pytest.mark.{marker.partition(':')[0]}"
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    assert any(re.search(rf"{mark}\b", path.read_text("utf8")) for path in tests)
