"""One subject's job: the commands that a person would type, and how far they have come, in one small file."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.files import read_bytes, write_json

State = Literal["waiting", "running", "failed", "done"]
RETRIES = 2
"""Number of times that a failed job is tried again."""


@dataclass(frozen=True)
class Stage:
    """One command of a job."""

    name: str
    words: tuple[str, ...]
    """The command line, which begins with `ns-train` or `ns-avatar`."""


@dataclass(frozen=True)
class Job:
    """A job as it is kept on disk. Only the process that holds its lock writes it while it runs."""

    name: str
    source: str
    """The folder or video that the subject's data come from."""
    run: str
    """The folder of the training's run."""
    evaluation: str
    """The folder of its held-out figures and pictures."""
    stages: tuple[Stage, ...]
    state: State = "waiting"
    finished: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The commands that have been done, by the names of their stages."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each stage took in all tries, in seconds."""
    failures: int = 0
    last_lines: str = ""
    """The end of the output of the command that failed."""
    changed: float = 0.0
    """When this was written, in seconds since 1970."""

    @property
    def steps(self) -> int | None:
        """Number of steps that the training was asked for; None if that is the method's own."""
        for stage in self.stages:
            for option in ("--max-num-iterations", "--steps"):
                if option in stage.words:
                    return int(stage.words[stage.words.index(option) + 1])
        return None

    def next_stage(self) -> Stage | None:
        """The first command that has not been done."""
        return next((stage for stage in self.stages if self.finished.get(stage.name) != stage.words), None)

    def write(self, file: Path, **changes: Any) -> Job:
        """Writes the job, whole, with some fields changed."""
        job = replace(self, **changes, changed=time.time())
        write_json(file, asdict(job))
        return job


def job_file(output: Path, name: str) -> Path:
    """Where the job of a subject is kept."""
    return output / "jobs" / f"{name}.json"


def created_folder(output: Path, name: str) -> Path:
    """What `ns-avatar create` makes of a subject's video."""
    return output / "created" / name


def log_file(output: Path, name: str, stage: str) -> Path:
    """Where the output of a command goes."""
    return output / "logs" / f"{name}-{stage}.log"


def read_job(file: Path) -> Job:
    """Reads a job.

    Raises:
        UserError: if the file is none.
    """
    try:
        content = json.loads(read_bytes(file, "a job of `ns-avatar fleet`"))
        content["stages"] = tuple(Stage(one["name"], tuple(one["words"])) for one in content["stages"])
        content["finished"] = {name: tuple(words) for name, words in content["finished"].items()}
        return Job(**content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: not a job written by `ns-avatar fleet` ({error}). Delete it.") from error


def complaint(text: str) -> str:
    """What a command says of a mistake, if its output ends with that; else the same text.

    >>> complaint("Reading\nns-train: data/me: no such folder")
    'ns-train: data/me: no such folder'
    """
    lines = text.splitlines()
    begins = [place for place, line in enumerate(lines) if line.lstrip().startswith(("ns-train: ", "ns-avatar: "))]
    return "\n".join(lines[begins[-1] :]) if begins else text
