"""Trains and measures many subjects, each in a process of its own, on this machine or on many."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from nerfstudio_avatars.avatars.fleet.engine import Engine, Resources
from nerfstudio_avatars.avatars.fleet.engines import EngineName, make_engine
from nerfstudio_avatars.avatars.fleet.job import RETRIES, Job, Stage, created_folder, job_file, read_job
from nerfstudio_avatars.avatars.fleet.job_process import is_running
from nerfstudio_avatars.avatars.fleet.subjects import Subject, find_subjects
from nerfstudio_avatars.avatars.fleet.table import PAGE, Line, Overview, terminal_table, write_page
from nerfstudio_avatars.avatars.protocols import PROTOCOLS, ProtocolName
from nerfstudio_avatars.avatars.run import PersonMethod, chosen_method, default_steps
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import check_folder

_LOOK_EVERY = 0.5
"""Seconds between looks at the jobs."""
_PAGE_EVERY = 2.0
"""Seconds between writings of the page."""


@dataclass
class Outcome:
    """What a fleet came to."""

    page: Path
    table: str
    """The table of figures as Markdown, and what failed."""
    jobs: list[Job]

    @property
    def failed(self) -> list[Job]:
        """Jobs that failed in all tries."""
        return [job for job in self.jobs if job.state == "failed"]


@dataclass(kw_only=True)
class FleetOptions:
    """What holds for all subjects of a fleet, and where they are worked on."""

    output: Path = Path("outputs/fleet")
    """Folder to write everything to. The same command goes on where it was stopped or killed."""
    method: PersonMethod = "auto"
    """Method to train: `auto` chooses instant-avatar on a GPU, and instant-avatar-cpu without one."""
    steps: int | None = None
    """Number of steps to train each subject for; by default those of the method."""
    options: str = ""
    """Further ns-train options for all folders, as in --options="--pipeline.model.avatar.max-samples 128"."""
    dataparser_options: str = ""
    """Dataparser to use, and its options, as in --dataparser-options="people-snapshot --downscale-factor 4"."""
    create_options: str = ""
    """Options to give to `ns-avatar create` for all videos, as in --create-options="--frames 60 --body smpl"."""
    protocol: ProtocolName = "ours"
    """Protocol that the final table follows, as in `ns-avatar evaluate`."""
    engine: EngineName = "local"
    """Engine that runs the jobs: `local` takes this machine, `ray` a Ray cluster, and `slurm` a Slurm queue."""
    engine_options: tuple[str, ...] = ()
    """Options to give to the engine, as name=value: `address` of a Ray cluster, or parameters of submitit for Slurm."""
    jobs: int | None = None
    """Number of jobs to run at a time on this machine; by default one for each GPU, or what cores and memory allow."""
    threads: int | None = None
    """Number of cores for each job; by default the machine's, shared out among the jobs."""
    memory_gb: float = 3.0
    """Amount of memory in gigabytes that each job is expected to take."""
    force: bool = False
    """Whether to begin anew with subjects whose settings have changed, which deletes what was learnt of them."""

    def check(self) -> None:
        """Checks values before anything is done.

        Raises:
            UserError: if one makes no sense.
        """
        for name, least in (("steps", 2), ("jobs", 1), ("threads", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"--{name} {value}: expected at least {least}.")
        if self.memory_gb <= 0:
            raise UserError(f"--memory-gb {self.memory_gb:g}: expected more than 0.")
        check_folder(self.output)


def run_fleet(paths: tuple[Path, ...], options: FleetOptions, say: Callable[[str], None] = print) -> Outcome:
    """Trains and measures all subjects that have not been yet.

    Args:
        paths: subjects, videos, folders of them, or tables.
        options: what holds for all, and where they are worked on.
        say: is given a line for each job that ends, where the output is no terminal.

    Raises:
        UserError: subjects or options that make no sense, or jobs of other settings in the folder.
    """
    from nerfstudio_avatars.avatars.fleet.results import as_html, write_results

    options.check()
    subjects = find_subjects(paths)
    _check_uses(subjects, options)
    gpus, jobs, resources = _room(options)
    methods = [_method(subject, options, bool(gpus)) for subject in subjects]
    files = [_prepare(one, method, options) for one, method in zip(subjects, methods, strict=True)]
    # Before any job is begun: a package that is missing is told at once.
    waiting = [file for file in files if read_job(file).state != "done"]
    steps = {
        subject.name: read_job(file).steps or default_steps(method)
        for subject, method, file in zip(subjects, methods, files, strict=True)
    }
    overview = Overview(files, steps)
    title = f"{len(files)} subjects, {options.protocol} ({options.engine})"
    if waiting:
        engine = make_engine(options.engine, resources, jobs, gpus, options.output, options.engine_options)
        with _shown(overview, options.output, title, say) as look:
            work(engine, waiting, look)
    ended = [read_job(file) for file in files]
    table = write_results(options.output, ended, PROTOCOLS[options.protocol])
    page = write_page(options.output, overview.lines(), title, as_html(table), finished=True)
    return Outcome(page, table, ended)


def work(engine: Engine, files: list[Path], look: Callable[[], None]) -> None:
    """Lets an engine do jobs, and gives back those that failed as often as they may be tried again."""
    try:
        running = dict(zip(files, engine.start(files), strict=True))
        tries = dict.fromkeys(files, 1)
        while running:
            for file, attempt in list(running.items()):
                if not attempt.done():
                    continue
                job = read_job(file)
                if job.state == "done":
                    del running[file]
                elif tries[file] <= RETRIES:
                    tries[file] += 1
                    running[file] = engine.start([file])[0]
                else:
                    del running[file]
                    if job.state != "failed" and not is_running(file):
                        said = "its process was killed each time, perhaps for want of memory"
                        job.write(file, state="failed", failures=job.failures + 1, last_lines=said)
            look()
            time.sleep(_LOOK_EVERY)
    finally:
        engine.stop()


@contextmanager
def _shown(overview: Overview, output: Path, title: str, say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Shows a live table in a terminal, lines elsewhere, and the page beside either."""
    from rich import get_console
    from rich.live import Live

    console = get_console()
    live = console.is_terminal
    written, before = 0.0, {line.subject: line.state for line in overview.lines()}
    say(f"{title}: {output / PAGE}")

    def look() -> None:
        nonlocal written
        lines = overview.lines()
        table.update(terminal_table(lines, title))
        for line in lines:
            if not live and line.state != before[line.subject]:
                say(_said(line))
            before[line.subject] = line.state
        if time.monotonic() - written > _PAGE_EVERY:
            write_page(output, lines, title)
            written = time.monotonic()

    with Live(console=console, auto_refresh=live, refresh_per_second=2) if live else _Silent() as table:
        yield look


class _Silent:
    """Takes the place of a live table where the output is no terminal."""

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, _: object) -> None:
        pass


def _said(line: Line) -> str:
    return f"{line.subject}: " + " ".join(filter(None, line.cells))


def _room(options: FleetOptions) -> tuple[int, int, Resources]:
    """GPUs of this machine, jobs at a time, and what each is given."""
    import psutil
    import torch

    from nerfstudio_avatars.avatars.fleet.local_engine import jobs_at_once

    gpus = torch.cuda.device_count()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = psutil.virtual_memory().available / 1e9
    jobs = options.jobs or jobs_at_once(gpus, cores, free, options.memory_gb)
    threads = options.threads or max(1, cores // jobs)
    return gpus, jobs, Resources(threads, min(gpus / jobs, 1.0) if gpus else 0, options.memory_gb)


def _check_uses(subjects: Sequence[Subject], options: FleetOptions) -> None:
    """Checks that there is somebody whom each option is for.

    Raises:
        UserError: if there is nobody.
    """
    if (options.options or options.dataparser_options) and all(one.is_video for one in subjects):
        raise UserError(
            "--options and --dataparser-options are for ns-train, and all subjects are videos, which go through "
            "`ns-avatar create`: use --create-options."
        )
    if options.create_options and not any(one.is_video for one in subjects):
        raise UserError("--create-options are for videos, and no subject is one: use --options.")


def _method(subject: Subject, options: FleetOptions, on_gpu: bool) -> str:
    method = subject.method or options.method
    known = get_args(PersonMethod)
    if method not in known:
        raise UserError(
            f"{subject.name}: there is no method {method!r} for one person. Expected one of {', '.join(known)}."
        )
    return chosen_method(method, on_gpu)


def _prepare(subject: Subject, method: str, options: FleetOptions) -> Path:
    """Writes the job of a subject, unless it is there already.

    Raises:
        UserError: there is one of other settings.
    """
    file, job = job_file(options.output, subject.name), _job(subject, method, options)
    if is_running(file):
        return file  # Another program's, which is waited for.
    if not file.exists():
        job.write(file)
        return file
    before = read_job(file)
    changed = [stage for stage in before.stages if stage.name != "evaluate" and stage not in job.stages]
    if changed and options.force:
        for folder in (before.run, before.evaluation):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(created_folder(options.output, subject.name), ignore_errors=True)
        job.write(file)
    elif changed:
        raise UserError(
            f"{file}: a job of other settings: {shlex.join(changed[0].words)}. Choose another --output, or use --force "
            "to begin anew."
        )
    else:
        ended = before.state == "done" and before.stages == job.stages
        kept = {"finished": before.finished, "seconds": before.seconds, "state": "done" if ended else "waiting"}
        job.write(file, **kept)
    return file


def _job(subject: Subject, method: str, options: FleetOptions) -> Job:
    output = options.output.absolute()
    steps = subject.steps or options.steps
    if subject.is_video:
        run, stage = _creating(subject, method, steps, options)
    else:
        run = output / "runs" / subject.name / method / "run"
        train = ["ns-train", method, "--data", str(subject.path.absolute()), "--output-dir", str(output / "runs")]
        train += ["--experiment-name", subject.name, "--timestamp", "run", "--vis", "tensorboard"]
        train += [] if steps is None else ["--max-num-iterations", str(steps)]
        train += [*shlex.split(options.options), *shlex.split(subject.options)]
        stage = Stage("train", (*train, *shlex.split(options.dataparser_options)))
    evaluation = output / "evaluation" / subject.name
    measure = ("ns-avatar", "evaluate", "--load-config", str(run), "--protocol", options.protocol)
    stages = (stage, Stage("evaluate", (*measure, "--output", str(evaluation))))
    return Job(subject.name, str(subject.path), str(run), str(evaluation), stages)


def _creating(subject: Subject, method: str, steps: int | None, options: FleetOptions) -> tuple[Path, Stage]:
    """The run that `ns-avatar create` makes of a video, and its command, which goes on where it was stopped."""
    from nerfstudio_avatars.avatars.creation import FINAL

    folder = created_folder(options.output.absolute(), subject.name)
    words = ["ns-avatar", "create", str(subject.path.absolute()), "--output", str(folder), "--method", method]
    words += ["--first-steps", "0"]  # Nobody waits for a first look.
    words += [] if steps is None else ["--steps", str(steps)]
    words += [*shlex.split(options.create_options), *shlex.split(subject.options)]
    return folder / "runs" / FINAL / method / "run", Stage("create", tuple(words))
