"""Long work in stages: each is done once, and a command that was killed goes on with the first one that is missing."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.files import read_bytes, write_json


@dataclass(frozen=True)
class Done:
    """A stage that is done."""

    found: dict[str, Any]
    """What it has found out."""
    seconds: float
    """How long it took. Of a stage that was interrupted, only its last part counts."""


class Stages:
    """Keeps account, in a JSON file, of which stages are done, with what settings, and what they found.

    Args:
        file: the account; it need not exist.
        titles: of the stages by name, in their order.
        bar: called with the number of stages done, their total, and what is done now.

    Raises:
        DataError: the file holds something else.
    """

    def __init__(self, file: Path, titles: dict[str, str], bar: Callable[[int, int, str], None]) -> None:
        self._file, self._titles, self._bar = file, titles, bar
        self.account: dict[str, dict[str, Any]] = _read(file) if file.exists() else {}

    def do(
        self,
        name: str,
        settings: dict[str, Any],
        results: tuple[Path, ...],
        work: Callable[[], dict[str, Any]],
        kept: tuple[Path, ...] = (),
    ) -> Done:
        """Does a stage, unless that was done before with these settings and its results are there.

        Args:
            name: of the stage.
            settings: what it depends on, in JSON's types.
            results: files and folders that it makes, or replaces.
            work: makes them, and returns what it found, in JSON's types.
            kept: folders of unfinished work to go on with; they are removed if it was begun with other settings.
        """
        number, title = list(self._titles).index(name), self._titles[name]
        self._bar(number, len(self._titles), title)
        entry = self.account.get(name, {})
        same = entry.get("settings") == json.loads(json.dumps(settings))
        if same and "found" in entry and all(path.exists() for path in results):
            return Done(entry["found"], entry["seconds"])
        for folder in () if same else kept:
            shutil.rmtree(folder, ignore_errors=True)
        self._write(name, {"settings": settings})
        start = time.perf_counter()
        done = Done(work(), time.perf_counter() - start)
        self._write(name, {"settings": settings, "found": done.found, "seconds": round(done.seconds, 2)})
        print(f"{title}: {done.seconds:.0f} s", flush=True)
        return done

    def _write(self, name: str, entry: dict[str, Any]) -> None:
        self.account[name] = entry
        write_json(self._file, self.account)


def stage_at_work(file: Path, titles: dict[str, str]) -> str:
    """The title of the stage that has been begun and is not done; empty if there is none.

    Args:
        file: the account; it need not exist.
        titles: of the stages by name.

    Raises:
        DataError: the file holds something else.
    """
    begun = [name for name, entry in (_read(file) if file.exists() else {}).items() if "found" not in entry]
    return titles[begun[-1]] if begun else ""


def _read(file: Path) -> dict[str, dict[str, Any]]:
    fix = "remove it, and everything beside it, to begin anew"
    try:
        account = json.loads(read_bytes(file, "an account of stages", fix))
        if isinstance(account, dict) and all(isinstance(one, dict) for one in account.values()):
            return account
    except ValueError:
        pass
    raise DataError(file, "no account of stages", "what `ns-avatar create` wrote", fix)
