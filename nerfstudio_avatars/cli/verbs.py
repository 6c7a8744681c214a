"""The verbs of `ns-avatar`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

import tyro

from nerfstudio_avatars.cli.ablate import Ablate
from nerfstudio_avatars.cli.animate import Animate
from nerfstudio_avatars.cli.demo import Demo
from nerfstudio_avatars.cli.demo_data import DemoData
from nerfstudio_avatars.cli.demo_volanim import DemoVolanim
from nerfstudio_avatars.cli.drive import Drive
from nerfstudio_avatars.cli.evaluate import Evaluate
from nerfstudio_avatars.cli.evaluate_animation import EvaluateAnimation
from nerfstudio_avatars.cli.inspect import Inspect
from nerfstudio_avatars.cli.invert import Invert
from nerfstudio_avatars.cli.masks import Masks
from nerfstudio_avatars.cli.process import Process
from nerfstudio_avatars.errors import UserError


class Verb(Protocol):
    """One subcommand: its fields are the options."""

    def run(self) -> None:
        """Does it, and prints in one line what was done and where the result lies."""
        ...


Verbs = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Process, tyro.conf.subcommand("process")]
    | Annotated[DemoData, tyro.conf.subcommand("demo-data")]
    | Annotated[DemoVolanim, tyro.conf.subcommand("demo-volanim")]
    | Annotated[EvaluateAnimation, tyro.conf.subcommand("evaluate-animation")]
    | Annotated[Invert, tyro.conf.subcommand("invert")]
    | Annotated[Masks, tyro.conf.subcommand("masks")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Ablate, tyro.conf.subcommand("ablate")]
    | Annotated[Animate, tyro.conf.subcommand("animate")]
    | Annotated[Drive, tyro.conf.subcommand("drive")]
    | Annotated[Inspect, tyro.conf.subcommand("inspect")]
)


def parse(args: Sequence[str] | None) -> Verb:
    """Reads the command line; --help and mistakes in it end the program here."""
    return tyro.cli(Verbs, prog="ns-avatar", description="Animatable avatars of real people.", args=args)  # type: ignore[arg-type]


def user_errors() -> tuple[type[Exception], ...]:
    """Errors whose message is all that a user needs."""
    return (UserError,)
