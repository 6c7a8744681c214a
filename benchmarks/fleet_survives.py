#!/usr/bin/env python
"""Does a fleet end with the same table whatever is killed on the way? One JSON object.

    python benchmarks/fleet_survives.py --engines local ray

Drawn people, small, go through `ns-avatar fleet` with two jobs at a time; one of them has broken data. A job's process
is killed once (with Ray: a worker), and the driver once some are done; then the same command is typed again. Counted
are trainings that logged a step twice, and the table is compared with that of a fleet that nobody disturbed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stand_in import note, peak_memory_mb  # first: it settles how torch's threads wait

# isort: split
import psutil
import tyro
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from nerfstudio_avatars.avatars.fleet.job import Job, read_job
from nerfstudio_avatars.demo.people import draw_people

SMALL = (
    "--pipeline.datamanager.rays-per-frame 128 --pipeline.model.avatar.cell-size 0.1 "
    "--pipeline.model.avatar.field.levels 6 --pipeline.model.avatar.field.log2-table-size 12 "
    "--pipeline.model.occupancy-warmup 8 --pipeline.model.smooth-poses False --logging.steps-per-log 1"
)


@dataclass
class Options:
    """The fleet."""

    people: int = 12
    """Drawn people, of whom one has broken data."""
    steps: int = 40
    """Training steps of each."""
    size: int = 96
    """Side of the pictures, pixels."""
    frames: int = 24
    """Frames of each video."""
    engines: tuple[str, ...] = ("local", "ray")
    """Engines to put to the test."""


class Fleet:
    """A fleet on the same people.

    Args:
        people: the folder of the subjects.
        output: the fleet's folder.
        engine: to run it with.
        steps: of each training.
    """

    def __init__(self, people: Path, output: Path, engine: str, steps: int) -> None:
        self.output, self.engine = output, engine
        self._command = [sys.executable, "-m", "nerfstudio_avatars.cli", "fleet", str(people), "--output", str(output)]
        self._command += ["--steps", str(steps), "--engine", engine, "--jobs", "2", "--threads", "1"]
        self._command += ["--protocol", "novel-view", "--method", "instant-avatar-cpu", f"--options={SMALL}"]

    def start(self) -> subprocess.Popen:
        """Types the command."""
        log = self.output.with_suffix(".log")
        with log.open("ab") as out:
            return subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    def jobs(self) -> list[Job]:
        """All jobs as they are now."""
        return [read_job(file) for file in sorted((self.output / "jobs").glob("*.json"))]

    def done(self) -> int:
        """How many jobs are done."""
        return sum(job.state == "done" for job in self.jobs())

    def table(self) -> dict[str, dict[str, float]]:
        """Figures by subject."""
        rows = json.loads((self.output / "fleet.json").read_text())["table"]
        return {f"{row['subject']} {row['poses']} {row['background']}": row["figures"] for row in rows}

    def repeated(self) -> dict[str, int]:
        """Steps that were logged more than once, by subject."""
        found = {}
        for job in self.jobs():
            steps: Counter[int] = Counter()
            for path in Path(job.run).glob("events.out.tfevents.*"):
                for event in EventFileLoader(str(path)).Load():
                    steps.update({event.step for value in event.summary.value if value.tag.endswith("/psnr")})
            found[job.name] = sum(count - 1 for count in steps.values())
        return {name: count for name, count in found.items() if count}


def kill_one(fleet: Fleet, driver: subprocess.Popen) -> str | None:
    """Kills a job's process, or a worker of Ray that waits for one; what was killed."""
    trained = {Path(job.run) for job in fleet.jobs() if job.state == "running"}
    if not any(list(run.glob("events.out.tfevents.*")) for run in trained):
        return None
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if any("job_process" in word for word in words):
            victim = process.parent() if fleet.engine == "ray" else process
            if victim is not None:
                os.kill(victim.pid, signal.SIGKILL)
                return " ".join(words[-1:]) if fleet.engine != "ray" else "a worker"
    return None


def newest(job: Job) -> float:
    """When the last checkpoint of a job was written."""
    return max(path.stat().st_mtime for path in (Path(job.run) / "nerfstudio_models").glob("step-*.ckpt"))


def disturbed(fleet: Fleet, some: int) -> dict[str, Any]:
    """Kills a process, then the driver, and goes on."""
    start = time.perf_counter()
    driver = fleet.start()
    killed = None
    while driver.poll() is None and (killed is None or fleet.done() < some):
        time.sleep(0.5)
        if killed is None and fleet.jobs():
            killed = kill_one(fleet, driver)
    done = fleet.done()
    note(f"{fleet.engine}: killed {killed}, then the driver, with {done} done")
    driver.kill()
    driver.wait()
    before = {job.name: newest(job) for job in fleet.jobs() if job.state == "done"}
    code = fleet.start().wait()
    jobs = fleet.jobs()
    return {
        "killed": killed,
        "done_when_the_driver_was_killed": done,
        "code_at_the_end": code,
        "states": Counter(job.state for job in jobs),
        "failed": {job.name: job.failures for job in jobs if job.state == "failed"},
        "steps_logged_twice": fleet.repeated(),
        "finished_ones_left_alone": all(newest(job) == before[job.name] for job in jobs if job.name in before),
        "seconds": time.perf_counter() - start,
    }


def main(options: Options) -> None:
    """One fleet in peace, and one disturbed with each engine."""
    found: dict[str, Any] = {"question": "does a fleet end with the same table whatever is killed?"}
    found |= {"people": options.people, "steps": options.steps}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        people = folder / "people"
        drawn = draw_people(people, options.people, size=options.size, frames=options.frames)
        poses = drawn[2] / "reconstructed_poses.hdf5"
        poses.write_bytes(poses.read_bytes()[:1000])
        note("in peace")
        peace = Fleet(people, folder / "peace", "local", options.steps)
        start = time.perf_counter()
        code = peace.start().wait()
        expected = peace.table()
        found["in_peace"] = {"code": code, "seconds": time.perf_counter() - start, "rows": len(expected)}
        for engine in options.engines:
            fleet = Fleet(people, folder / engine, engine, options.steps)
            result = disturbed(fleet, max(2, options.people // 4))
            table = fleet.table()
            differences = [
                abs(figures[name] - table[row][name])
                for row, figures in expected.items()
                if row in table
                for name in figures
            ]
            result["rows"] = len(table)
            result["largest_difference"] = max(differences, default=None)
            found[engine] = result
            note(json.dumps(result))
    found["peak_memory_mb"] = peak_memory_mb()
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Options))
