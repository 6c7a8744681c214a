"""Three engines, one behaviour: jobs that fail are tried again, killed ones go on, and nobody is trained twice."""

import builtins
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from pretended_training import PretendedTraining

from nerfstudio_avatars.avatars.fleet.engine import Resources
from nerfstudio_avatars.avatars.fleet.engines import make_engine
from nerfstudio_avatars.avatars.fleet.fleet import work
from nerfstudio_avatars.avatars.fleet.job import read_job
from nerfstudio_avatars.avatars.fleet.local_engine import jobs_at_once
from nerfstudio_avatars.errors import UserError

ROOT = Path(__file__).parents[3]


def engine(name, output, *options):
    return make_engine(name, Resources(memory_gb=0.1), 2, 0, output, options)


ENGINES = [
    pytest.param("local", (), id="local"),
    pytest.param("slurm", ("cluster=local", "timeout_min=5"), id="slurm"),
    pytest.param("ray", (), id="ray", marks=pytest.mark.slow),
]


@pytest.fixture
def installed():
    def check(name):
        package = {"slurm": "submitit", "ray": "ray"}.get(name)
        if package:
            pytest.importorskip(package, reason=f"the extra .[{name}] is not installed")

    return check


@pytest.mark.filterwarnings("ignore")  # Ray's own, of files that it leaves open.
@pytest.mark.parametrize(("name", "options"), ENGINES)
def test_all_are_trained_once_and_what_fails_is_tried_three_times(name, options, tmp_path, monkeypatch, installed):
    installed(name)
    pretended = PretendedTraining(tmp_path, monkeypatch)
    good = [pretended.job(person) for person in ("anna", "bert", "cleo")]
    broken = pretended.job("dora", data=tmp_path / "gone")
    work(engine(name, pretended.output, *options), [broken, *good], lambda: None)
    assert [read_job(file).state for file in good] == ["done"] * 3
    assert all(pretended.steps(person) == [0, 1, 2] for person in ("anna", "bert", "cleo"))
    job = read_job(broken)
    assert (job.state, job.failures) == ("failed", 3) and "no such folder" in job.last_lines


def test_a_job_whose_process_is_killed_is_tried_again(tmp_path, monkeypatch):
    pretended = PretendedTraining(tmp_path, monkeypatch, steps=12, seconds=0.1)
    file = pretended.job("anna")
    local = engine("local", pretended.output)
    killed = []

    def kill_once():
        if not killed and pretended.steps("anna"):
            (process,) = local._running
            killed.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)

    work(local, [file], kill_once)
    assert killed and read_job(file).state == "done" and pretended.steps("anna") == list(range(12))


def test_one_that_is_killed_each_time_is_given_up(tmp_path, monkeypatch):
    pretended = PretendedTraining(tmp_path, monkeypatch, steps=10_000, seconds=0.02)
    file = pretended.job("anna")
    local = engine("local", pretended.output)

    def kill():
        for process in list(local._running):
            os.kill(process.pid, signal.SIGKILL)

    work(local, [file], kill)
    assert read_job(file).state == "failed" and "killed each time" in read_job(file).last_lines


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parents")
def test_a_driver_that_is_killed_leaves_nobody_behind_and_goes_on(tmp_path, monkeypatch):
    pretended = PretendedTraining(tmp_path, monkeypatch, steps=12, seconds=0.1)
    files = [pretended.job(person) for person in ("anna", "bert", "cleo")]
    driver = (
        "import sys; from pathlib import Path; from nerfstudio_avatars.avatars.fleet.fleet import work\n"
        "from nerfstudio_avatars.avatars.fleet.engine import Resources\n"
        "from nerfstudio_avatars.avatars.fleet.engines import make_engine\n"
        f"work(make_engine('local', Resources(), 2, 0, Path({str(pretended.output)!r}), ()),\n"
        "     [Path(word) for word in sys.argv[1:]], lambda: None)"
    )
    path = os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])
    command = [sys.executable, "-c", driver, *map(str, files)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
    end = time.monotonic() + 60
    while len(pretended.steps("anna")) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()
    process.wait()
    work(engine("local", pretended.output), files, lambda: None)
    assert all(pretended.steps(person) == list(range(12)) for person in ("anna", "bert", "cleo"))
    assert [read_job(file).state for file in files] == ["done"] * 3


def test_ctrl_c_asks_jobs_to_stop_and_starts_none(tmp_path, monkeypatch):
    pretended = PretendedTraining(tmp_path, monkeypatch, steps=1000, seconds=0.05)
    files = [pretended.job(person) for person in ("anna", "bert", "cleo")]
    before = threading.active_count()

    def interrupt():
        if pretended.steps("anna") and pretended.steps("bert"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(engine("local", pretended.output), files, interrupt)
    counted = pretended.steps("anna")
    assert pretended.steps("cleo") == [] and len(counted) < 1000
    time.sleep(0.2)
    assert pretended.steps("anna") == counted and threading.active_count() <= before + 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no processes")
def test_jobs_that_run_at_a_time_have_cores_of_their_own(tmp_path, monkeypatch):
    pretended = PretendedTraining(tmp_path, monkeypatch, steps=12, seconds=0.1)
    files = [pretended.job(person) for person in ("anna", "bert")]
    mine, cores = sorted(os.sched_getaffinity(0)), {}
    if len(mine) < 2:
        pytest.skip("there is one core")

    def look():
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if "nerfstudio.scripts.train" in words:
                    cores.setdefault(words[-1], set()).update(process.cpu_affinity())

    work(engine("local", pretended.output), files, look)
    assert sorted(map(sorted, cores.values())) == [mine[:1], mine[1:2]] and cores.keys() == {"anna", "bert"}


def test_a_job_whose_time_in_slurm_is_over_is_put_back_and_goes_on(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="the extra .[slurm] is not installed")
    pretended = PretendedTraining(tmp_path, monkeypatch, steps=12, seconds=0.1)
    file = pretended.job("anna")
    (attempt,) = engine("slurm", pretended.output, "cluster=local", "timeout_min=5").start([file])
    end = time.monotonic() + 60
    while len(pretended.steps("anna")) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    (task,) = psutil.Process(attempt._process.pid).children()
    task.send_signal(signal.SIGUSR2)  # As Slurm does before the end.
    attempt.wait()
    assert "Requeued" in attempt.stdout() and read_job(file).state == "done"
    assert pretended.steps("anna") == list(range(12)), "no step was done twice"


def test_slurm_finds_what_still_waits_in_its_queue(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="the extra .[slurm] is not installed")
    pretended = PretendedTraining(tmp_path, monkeypatch)
    files = [pretended.job("anna"), pretended.job("bert")]
    options = ("cluster=local", "timeout_min=5")
    first = engine("slurm", pretended.output, *options).start(files)
    for attempt in first:
        attempt.wait()

    class Queued:
        """What Slurm says of a job by its number: the second one still waits."""

        def __init__(self, folder, job_id):
            self.job_id = job_id

        def done(self, force_check=False):
            return self.job_id == first[0].job_id

    again = engine("slurm", pretended.output, *options)
    again._job_kind = Queued
    new, kept = again.start(files)
    assert isinstance(kept, Queued) and kept.job_id == first[1].job_id
    assert new.job_id not in {attempt.job_id for attempt in first}
    new.wait()
    assert pretended.steps("anna") == pretended.steps("bert") == [0, 1, 2], "what is done is left alone"


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_without_its_package_an_engine_says_how_to_get_it(name, package, tmp_path, monkeypatch):
    found = builtins.__import__

    def missing(wanted, *rest, **more):
        if wanted == package:
            raise ImportError(f"No module named {package!r}")
        return found(wanted, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=rf"pip install 'nerfstudio-avatars\[{name}\]'"):
        engine(name, tmp_path)


def test_options_that_an_engine_does_not_know_are_told(tmp_path):
    for name, option in (("local", "partition=gpu"), ("local", "partition"), ("ray", "port=3")):
        if name == "ray":
            pytest.importorskip("ray", reason="the extra .[ray] is not installed")
        with pytest.raises(UserError, match="--engine-options p"):
            engine(name, tmp_path, option)
    pytest.importorskip("submitit", reason="the extra .[slurm] is not installed")
    with pytest.raises(UserError, match="--engine slurm: .*colour"):
        engine("slurm", tmp_path, "cluster=local", "colour=red")


def test_as_many_jobs_as_gpus_or_as_cores_and_memory_allow():
    assert jobs_at_once(gpus=4, cores=64, free_gb=1.0, memory_gb=3.0) == 4
    assert jobs_at_once(gpus=0, cores=8, free_gb=100.0, memory_gb=3.0) == 8
    assert jobs_at_once(gpus=0, cores=8, free_gb=7.0, memory_gb=3.0) == 2
    assert jobs_at_once(gpus=0, cores=8, free_gb=1.0, memory_gb=3.0) == 1
