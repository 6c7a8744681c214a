"""A package `nerfstudio` whose ns-train takes no time, for tests of what starts trainings, kills and counts them."""

from __future__ import annotations

from pathlib import Path

from nerfstudio_avatars.avatars.fleet.job import Job, Stage, job_file

SCRIPT = """
import os, signal, sys, time
from pathlib import Path

data, run = Path(sys.argv[sys.argv.index("--data") + 1]), Path(os.environ["PRETENDED_RUNS"]) / sys.argv[-1]
checkpoints = run / "nerfstudio_models"
checkpoints.mkdir(parents=True, exist_ok=True)
done = sum(1 for line in (run / "steps").read_text().splitlines()) if (run / "steps").exists() else 0
if (done > 0) != ("--load-dir" in sys.argv):
    sys.exit("asked to begin anew after steps were done, or to go on without any")

def stop(*_):
    print("saved a last checkpoint", flush=True)
    sys.exit(143)

signal.signal(signal.SIGTERM, stop)
if not data.is_dir():
    sys.exit(f"{data}: no such folder")
with (run / "threads").open("w") as file:
    file.write(os.environ["OMP_NUM_THREADS"])
for step in range(done, int(os.environ["PRETENDED_STEPS"])):
    with (run / "steps").open("a") as file:
        file.write(f"{step}\\n")
    (checkpoints / f"step-{step:09d}.ckpt").touch()
    time.sleep(float(os.environ.get("PRETENDED_SECONDS", "0")))
"""


class PretendedTraining:
    """Jobs of one training each, and the steps that were done.

    Args:
        folder: for everything.
        monkeypatch: pytest's.
    """

    def __init__(self, folder: Path, monkeypatch, steps: int = 3, seconds: float = 0.0) -> None:
        self.output, self.runs = folder / "fleet", folder / "fleet" / "runs"
        package = folder / "path" / "nerfstudio" / "scripts"
        package.mkdir(parents=True)
        for place in (package, package.parent):
            (place / "__init__.py").touch()
        (package / "train.py").write_text(SCRIPT)
        for name, value in {
            "PYTHONPATH": package.parents[1],
            "PRETENDED_RUNS": self.runs,
            "PRETENDED_STEPS": steps,
            "PRETENDED_SECONDS": seconds,
        }.items():
            monkeypatch.setenv(name, str(value))

    def job(self, name: str, data: Path | None = None) -> Path:
        """Writes a job, whose data are there unless others are named; its file."""
        words = ("ns-train", "method", "--data", str(data or self.output), name)
        run = str(self.runs / name)
        self.output.mkdir(exist_ok=True)
        Job(name, "data", run, "", (Stage("train", words),)).write(job_file(self.output, name))
        return job_file(self.output, name)

    def steps(self, name: str) -> list[int]:
        """Steps that were done, in all tries."""
        file = self.runs / name / "steps"
        return [int(line) for line in file.read_text().split()] if file.exists() else []
