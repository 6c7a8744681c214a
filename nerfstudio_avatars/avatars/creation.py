"""From a video to an avatar in one go: processed, trained, measured, taken out, shown on a page."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nerfstudio_avatars.avatars.results import (
    COMPARISONS,
    LIVE_MOTIONS,
    LOOKS,
    TURNTABLE,
    VIDEO,
    WALK,
    compare_looks,
    device_name,
    film_results,
    measured,
    next_commands,
    show_video,
)
from nerfstudio_avatars.avatars.run import PersonMethod, chosen_method, default_steps
from nerfstudio_avatars.errors import UserError
from nerfstudio_avatars.process.own_video import OwnVideo

if TYPE_CHECKING:
    from nerfstudio_avatars.avatars.avatar import Avatar
    from nerfstudio_avatars.avatars.stages import Stages
    from nerfstudio_avatars.process.findings import Findings

ACCOUNT = "create.json"
"""The account of what is done, in the output folder."""
TITLES = {
    "process": "Finding the person",
    "first-training": "Training, a first look",
    "first-page": "The first page",
    "training": "Training",
    "evaluation": "Measuring held-out pictures",
    "films": "Filming",
    "avatar": "Writing the avatar",
    "mesh": "Making the mesh",
}
"""The stages by name, in their order, as they are shown."""
FINAL = "main"
"""Name of the training that stays; its run is in `runs/`."""
_FIRST_LOOK = "first-look"
"""Folder of the page in which the avatar of the short training moves, and of its held-out pictures."""
_FIRST_STEPS = {"cpu": 300, "cuda": 600}
_SMALL = {"triangles": 12_000, "texture_size": 1024, "picture_size": 300}
"""Options of the first look's mesh: made in seconds, and good enough to see whether the video will do."""
_FULL: dict[str, int] = {}
"""Those of the mesh that stays: as `ns-avatar export` has them."""
_VIDEO_SIZE = 400
_VIDEO_SECONDS = 4.0
_MOST_HELD_OUT = 8
_STEPS_PER_SAVE = 250

_SHARE_OF_STEPS = {"fast": 1 / 3, "normal": 1.0, "best": 4.0}
"""Steps of the training that stays, over those of the method."""

Quality = Literal["fast", "normal", "best"]


@dataclass
class Creation(OwnVideo):
    """A video of one person who turns around, and what to make of it."""

    output: Path | None = None
    """Folder to write everything to; by default the folder in outputs/ that is named like the video.
    A command that was stopped or killed goes on there when it is typed again."""
    body: str = "standin"
    """Body model to fit: `standin`, with which you may pass the avatar on, `smpl`, the path of an SMPL file, or `auto`.
    With `auto`, SMPL is used if its file is found, and the stand-in if not."""
    force: bool = False
    """Whether to go on with a video that no good avatar can come of."""
    method: PersonMethod = "auto"
    """Method to train: `auto` chooses instant-avatar on a GPU, and instant-avatar-cpu without one."""
    quality: Quality = "normal"
    """How long to learn, and from what: `normal` takes the method's steps, with the person at most 540 pixels tall.
    With `fast`, it takes a third of the steps. With `best`, it takes four times as many, and every filmed pixel."""
    steps: int | None = None
    """Number of steps to train for; by default as `quality` says."""
    first_steps: int | None = None
    """Number of steps to train for before the first page is made; by default 300, and 600 on a GPU.
    With 0 there is no first page, which saves a minute where nobody waits for it."""
    maker: str = ""
    """Name of whoever makes the avatar, to be kept in the files."""
    licence: str | None = None
    """Licence to state in the files, in your own words; by default they say that none was stated.
    It is the likeness of a person, who should be asked."""

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return self.output or Path("outputs") / self.video.stem

    def create(self) -> tuple[Path, dict[str, Any]]:
        """Does all stages that are not done yet.

        Returns:
            The page's path, and the account: `settings`, `found` and `seconds` of each stage.

        Raises:
            UserError: a video that no avatar can come of (unless `force`), a folder that holds something else, another
                process at work there, values that make no sense, or a nerfstudio command that failed.
            DataError: a video that cannot be read or shows nobody.
        """
        from nerfstudio_avatars.avatars.stages import Stages
        from nerfstudio_avatars.files import check_folder
        from nerfstudio_avatars.nerfstudio_glue.run_lock import CREATION, RunLock
        from nerfstudio_avatars.process.subject import length_of
        from nerfstudio_avatars.progress import progress_bar

        self._check()
        length_of(self.video)
        check_folder(self.folder)
        lock = RunLock(self.folder, CREATION)
        try:
            with progress_bar("Creating an avatar") as bar:
                stages = Stages(self.folder / ACCOUNT, TITLES, bar)
                page = self._do(stages, self._settings(stages.account))
        finally:
            lock.release()
        return page, stages.account

    def _check(self) -> None:
        super()._check()
        if self.steps is not None and self.steps < 2:
            raise UserError(f"--steps {self.steps}: expected at least 2.")
        if self.first_steps is not None and (self.first_steps < 0 or self.first_steps == 1):
            raise UserError(f"--first-steps {self.first_steps}: expected at least 2, or 0 for no first page.")

    def _settings(self, account: dict[str, Any]) -> dict[str, Any]:
        """What the first stage depends on.

        Raises:
            UserError: the folder holds the avatar of another video, or something else.
        """
        options = {one.name: getattr(self, one.name) for one in fields(OwnVideo)} | {"video": self.video.name}
        del options["output"]
        given = {name: path and _content(path) for name in ("poses", "masks") for path in [getattr(self, name)]}
        settings = options | given | {"content": _content(self.video)}
        if not account and any(one.name[0] != "." for one in self.folder.iterdir()):
            raise UserError(
                f"{self.folder}: holds other files. Expected a new folder, or one that `ns-avatar create` has made. "
                "Choose another --output."
            )
        before = account.get("process", {}).get("settings", {})
        # Who films again, because the first video was refused, may take its name and place.
        if "found" in account.get("training", {}) and before.get("content") != settings["content"]:
            raise UserError(
                f"{self.folder}: holds the avatar of another video, {before.get('video')}. Expected that of "
                f"{self.video}. Choose another --output, or remove the folder."
            )
        return settings

    # The stages -------------------------------------------------------------------------------------------------------

    def _do(self, stages: Stages, settings: dict[str, Any]) -> Path:
        """All stages in turn, and the page."""
        from nerfstudio_avatars.process.findings import Findings

        folder, subject = self.folder, self.folder / "subject"
        seen = (subject, folder / VIDEO)
        findings = Findings(**stages.do("process", settings, seen, lambda: self._process(subject)).found)
        if findings.obstacles and not self.force:
            print("\n".join(findings.told), flush=True)
            raise UserError(
                f"{self.video}: no good avatar can come of it. {' '.join(findings.obstacles + findings.advice)} "
                "With --force it is tried all the same."
            )
        print("\n".join(findings.lines), flush=True)

        def trained(stage: str, name: str, steps: int) -> tuple[Path, dict[str, Any]]:
            runs, wanted = folder / "runs", settings | {"method": self._trained_method, "steps": steps}
            if name == FINAL and self.quality == "best":
                wanted["quality"] = self.quality
            config = runs / name / self._trained_method / "run" / "config.yml"
            done = stages.do(
                stage, wanted, (config,), lambda: self._train(subject, name, steps, TITLES[stage]), kept=(runs / name,)
            )
            return config, wanted | done.found

        files = {"maker": self.maker, "licence": self.licence}
        trainings, configs = {}, {}
        first_steps = _FIRST_STEPS[self._device] if self.first_steps is None else self.first_steps
        if first_steps:
            first, facts = trained("first-training", "first", first_steps)
            trainings["first"], configs["first"] = facts, first
            page = (folder / _FIRST_LOOK,)
            stages.do("first-page", facts | files, page, lambda: self._first_page(first, findings, trainings["first"]))
        share = _SHARE_OF_STEPS[self.quality]
        config, facts = trained("training", FINAL, self.steps or round(share * default_steps(self._trained_method)))
        trainings["main"], configs["main"] = facts, config
        held_out = (folder / COMPARISONS, folder / LOOKS)
        figures = stages.do("evaluation", trainings, held_out, lambda: self._evaluate(configs)).found
        stages.do("films", facts, (folder / TURNTABLE, folder / WALK), lambda: self._film(config))
        files |= facts
        stages.do("avatar", files, (self._named(".avatar"),), lambda: self._write_avatar(config))
        stages.do("mesh", files, (self._named(".glb"), self._named(".html")), lambda: self._write_mesh(config))
        labelled = {_label(one): one | figures[name] for name, one in trainings.items()}
        return self._write_page(self._named(".html").name, findings, labelled)

    def _process(self, subject: Path) -> dict[str, Any]:
        shutil.rmtree(subject, ignore_errors=True)
        options = {one.name: getattr(self, one.name) for one in fields(OwnVideo)} | {"output": subject}
        findings = OwnVideo(**options).process()
        show_video(self.video, self.folder, _VIDEO_SIZE, (self.start, self.end))
        return asdict(findings)

    def _train(self, subject: Path, name: str, steps: int, title: str) -> dict[str, Any]:
        from nerfstudio_avatars.avatars.nerfstudio_commands import train

        # Rendering pictures would only take time from the training.
        options = ["--steps-per-eval-image", "0", "--steps-per-save", str(_STEPS_PER_SAVE)]
        of_data = ["--downscale-factor", "1"] if name == FINAL and self.quality == "best" else []
        if self.body not in ("auto", "standin", "smpl"):
            of_data += ["--body", self.body]
        if of_data:
            options += ["people-snapshot", *of_data]
        log = self.folder / "logs" / f"train-{name}.log"
        done = train(self._trained_method, subject, self.folder / "runs", name, steps, options, log, title)
        return {} if done.resumed else {"train_seconds": round(done.train_seconds, 2)}

    def _first_page(self, config: Path, findings: Findings, facts: dict[str, Any]) -> dict[str, Any]:
        live = self.folder / _FIRST_LOOK / self._named(".html").name
        live.parent.mkdir(exist_ok=True)
        try:
            self._avatar(config).export(live, motion=LIVE_MOTIONS, maker=self.maker, licence=self.licence, **_SMALL)
        except UserError as error:
            print(f"The short training does not make a first page: {error}", flush=True)
            return {}
        page = self._write_page(f"{_FIRST_LOOK}/{live.name}", findings, {_label(facts): facts}, first=True)
        print(f"A first look, while the longer training goes on: {page}", flush=True)
        return {}

    def _evaluate(self, configs: dict[str, Path]) -> dict[str, Any]:
        places = {"first": self.folder / _FIRST_LOOK / COMPARISONS, "main": self.folder / COMPARISONS}
        figures = {name: measured(config, places[name], _MOST_HELD_OUT) for name, config in configs.items()}
        compare_looks([places[name] for name in configs], self.folder)
        return figures

    def _film(self, config: Path) -> dict[str, Any]:
        film_results(self._avatar(config), self.folder, _VIDEO_SIZE, _VIDEO_SECONDS)
        return {}

    def _write_avatar(self, config: Path) -> dict[str, Any]:
        self._avatar(config).export(self._named(".avatar"), maker=self.maker, licence=self.licence)
        return {}

    def _write_mesh(self, config: Path) -> dict[str, Any]:
        from nerfstudio_avatars.export.page import avatar_page
        from nerfstudio_avatars.files import write_text

        mesh = self._named(".glb")
        self._avatar(config).export(mesh, motion=LIVE_MOTIONS, maker=self.maker, licence=self.licence, **_FULL)
        write_text(self._named(".html"), avatar_page(mesh.read_bytes(), mesh.stem))
        return {}

    def _write_page(
        self, live: str, findings: Findings, trainings: dict[str, dict[str, Any]], first: bool = False
    ) -> Path:
        from nerfstudio_avatars.avatars.result_page import ResultPage, write_result_page

        name = self._named("").name
        told = "A first look, after a short training. Reload this page when the longer one is done."
        if not first:
            last = list(trainings.values())[-1]
            told = f"Trained with {last['method']}, {last['steps']} steps, on {device_name(self._device)}."
        return write_result_page(
            self.folder,
            ResultPage(
                title=f"{name}: an avatar learnt from a video",
                told=[told],
                live=live,
                next=[] if first else next_commands(f"{name}.avatar", name),
                trainings={} if first else trainings,
                size=_VIDEO_SIZE,
                remarks=findings.lines,
            ),
        )

    # What they share --------------------------------------------------------------------------------------------------

    def _named(self, ending: str) -> Path:
        name = self.folder.absolute().name
        return self.folder / f"{name}{ending}"

    @cached_property
    def _device(self) -> str:
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def _trained_method(self) -> str:

        return chosen_method(self.method, self._device == "cuda")

    def _avatar(self, config: Path) -> Avatar:
        from nerfstudio_avatars.avatars.avatar import Avatar

        return Avatar.load(config)


def _label(facts: dict[str, Any]) -> str:
    seconds = facts.get("train_seconds")
    return f"{facts['steps']} steps" + (f" ({seconds:.0f} s)" if seconds else "")


def _content(path: Path) -> str:
    """A digest of a file, or of the pictures and arrays in a folder."""
    from nerfstudio_avatars.files import regular_file
    from nerfstudio_avatars.media.mask_files import MASK_SUFFIXES

    digest = hashlib.sha256()
    inside = sorted(file for file in path.iterdir() if file.suffix.lower() in MASK_SUFFIXES) if path.is_dir() else []
    for file in inside or [regular_file(path, "a file, or a folder of pictures")]:
        with file.open("rb") as opened:
            while piece := opened.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()
