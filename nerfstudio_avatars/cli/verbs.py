"""The table of `ns-avatar`'s verbs. Reading it is cheap: only the module of the chosen verb is imported."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from nerfstudio_avatars.errors import UserError


@runtime_checkable
class Verb(Protocol):
    """One subcommand, whose fields are its options."""

    def run(self) -> None:
        """Does the work, and prints in one line what was done and where the result is."""
        ...


@dataclass(frozen=True)
class VerbEntry:
    """One row of the table."""

    name: str
    options: str
    """The dataclass of the options, as `module:Class` in this package."""
    sentence: str
    """What the verb does, in the sentence that also begins the docstring of the dataclass."""
    examples: tuple[str, ...]
    """Command lines to paste, printed at the end of the verb's help."""

    def load(self) -> type[Verb]:
        """Imports the dataclass of the options."""
        module, _, name = self.options.partition(":")
        return getattr(importlib.import_module(f"{__package__}.{module}"), name)


VERBS: dict[str, tuple[VerbEntry, ...]] = {
    "Start": (
        VerbEntry(
            "demo",
            "demo:Demo",
            "Draws a video of a person, trains an avatar on it, and writes a page with videos and figures.",
            ("ns-avatar demo", "ns-avatar demo --output outputs/quick --seconds-list 10"),
        ),
        VerbEntry(
            "demo-volanim",
            "demo_volanim:DemoVolanim",
            "Trains a small `unsup-volanim` on drawn heads whose true poses are known, and writes a page with figures.",
            ("ns-avatar demo-volanim", "ns-avatar demo-volanim --steps 600 --no-one-part --ceiling-steps 0"),
        ),
        VerbEntry(
            "demo-data",
            "demo_data:DemoData",
            "Draws a small data set in the format of PeopleSnapshot, SURREAL, VoxCeleb or TEDXPeople.",
            ("ns-avatar demo-data data/people --people 12", "ns-avatar demo-data data/heads --format voxceleb"),
        ),
        VerbEntry(
            "doctor",
            "doctor:Doctor",
            "Shows what on this machine is fast, slow or missing for these methods, and how to fix it.",
            ("ns-avatar doctor", "ns-avatar doctor --json"),
        ),
    ),
    "Your own video": (
        VerbEntry(
            "create",
            "create:Create",
            "Makes an avatar of the person in your video, with files to keep and a page that shows it.",
            ("ns-avatar create my_video.mp4", "ns-avatar create my_video.mp4 --output outputs/me --start 2 --end 20"),
        ),
        VerbEntry(
            "process",
            "process:Process",
            "Turns a video of one person turning around into a folder that `ns-train instant-avatar` can train on.",
            ("ns-avatar process me.mp4", "ns-avatar process me.mp4 --output data/me --start 2 --end 20"),
        ),
        VerbEntry(
            "masks",
            "masks:Masks",
            "Writes a mask of the person for every frame in a folder of clips, where `unsup-volanim` looks for it.",
            ("ns-avatar masks data/clips",),
        ),
    ),
    "Many people, many clips": (
        VerbEntry(
            "pack",
            "pack:Pack",
            "Packs clips into files from which `ns-train unsup-volanim` reads frames without decoding anything.",
            ("ns-avatar pack data/clips data/packed --size 256", "ns-avatar pack data/packed --check"),
        ),
        VerbEntry(
            "fleet",
            "fleet:Fleet",
            "Trains and measures many subjects, each in a process of its own, on one machine or on many.",
            (
                "ns-avatar fleet data/people --output outputs/people",
                "ns-avatar fleet data/people --engine slurm --engine-options slurm_partition=gpu timeout_min=60",
            ),
        ),
    ),
    "Move": (
        VerbEntry(
            "animate",
            "animate:Animate",
            "Renders a trained person in a motion, as an mp4 video or as PNG files.",
            (
                "ns-avatar animate --load-config outputs/me/instant-avatar/run --motion walk",
                "ns-avatar animate --load-config outputs/me/instant-avatar/run --motion dance.bvh --camera turning",
            ),
        ),
        VerbEntry(
            "drive",
            "drive:Drive",
            "Renders a face, or another object that `unsup-volanim` has learnt, moving as in a driving video.",
            (
                "ns-avatar drive --load-config outputs/faces/unsup-volanim/run --image me.jpg --driving clip.mp4",
                "ns-avatar drive --load-config outputs/faces/unsup-volanim/run --identity me.npz --driving clip.mp4",
            ),
        ),
        VerbEntry(
            "invert",
            "invert:Invert",
            "Fits an identity to pictures of a person the run was not trained on, and saves it for `ns-avatar drive`.",
            ("ns-avatar invert --load-config outputs/faces/unsup-volanim/run --image me.jpg --output me.npz",),
        ),
    ),
    "Take out": (
        VerbEntry(
            "export",
            "export:Export",
            "Writes a trained person or face, or a motion, into one file that other programs open.",
            (
                "ns-avatar export --load-config outputs/me/instant-avatar/run --output me.glb --motion walk dance_a",
                "ns-avatar export --motion dance.npz --output dance.bvh",
            ),
        ),
    ),
    "Look": (
        VerbEntry(
            "view",
            "view:View",
            "Opens a finished run in the browser, to play motions, make poses, and take pictures and films.",
            ("ns-avatar view --load-config outputs/me/instant-avatar/run",),
        ),
        VerbEntry(
            "inspect",
            "inspect:Inspect",
            "Shows what data folders, motion files, body files and trained runs contain.",
            ("ns-avatar inspect data/me outputs/me/instant-avatar/run", "ns-avatar inspect walk --sheet walk.png"),
        ),
    ),
    "Measure": (
        VerbEntry(
            "evaluate",
            "evaluate:Evaluate",
            "Measures trained people on their held-out pictures, and writes tables and comparison pictures.",
            (
                "ns-avatar evaluate --load-config outputs/me/instant-avatar/run",
                "ns-avatar evaluate --load-config outputs/me/instant-avatar/run --protocol instant-avatar-paper",
            ),
        ),
        VerbEntry(
            "evaluate-animation",
            "evaluate_animation:EvaluateAnimation",
            "Measures how well an `unsup-volanim` run reconstructs, animates and turns held-out objects.",
            ("ns-avatar evaluate-animation --load-config outputs/faces/unsup-volanim/run",),
        ),
        VerbEntry(
            "ablate",
            "ablate:Ablate",
            "Trains variants of `instant-avatar` that differ in one part each, and compares them in a table.",
            ("ns-avatar ablate --data data/me", "ns-avatar ablate --data data/me --only full poses-fixed --seeds 0 1"),
        ),
    ),
}
"""All verbs, grouped by what a user wants to do."""


def entries() -> dict[str, VerbEntry]:
    """All rows of the table, by name."""
    return {entry.name: entry for group in VERBS.values() for entry in group}


def parse(args: Sequence[str] | None) -> Verb:
    """Parses a command line. Help, or a mistake in a verb's options, ends the program here.

    Args:
        args: the words after `ns-avatar`; None takes the process's own.

    Raises:
        UserError: if no verb is given, or if it does not exist.
        SystemExit: code 0 after help was printed, 2 after a mistake in the options.
    """
    words = list(sys.argv[1:] if args is None else args)
    if words[:1] in (["-h"], ["--help"]):
        print(overview(shutil.get_terminal_size().columns, _coloured()))
        sys.exit(0)
    if words and words[0].startswith("--tyro-"):
        return _parse_with_all_verbs(words)
    entry = _chosen(words)
    import tyro

    try:
        return tyro.cli(entry.load(), prog=f"ns-avatar {entry.name}", args=words[1:])
    except SystemExit as end:
        if not end.code and {"-h", "--help"} & set(words):
            print("\n".join([_bold("examples:", _coloured()), *(f"  {example}" for example in entry.examples)]))
        raise


def overview(width: int, coloured: bool = False) -> str:
    """The text of `ns-avatar --help`.

    Args:
        width: columns of the terminal; the text takes between 60 and 100.
        coloured: whether to print headings in bold.
    """
    width = min(max(width, 60), 100)
    column = max(map(len, entries())) + 4
    lines = [
        "usage: ns-avatar VERB [OPTIONS]",
        "",
        textwrap.fill("Learns animatable avatars of real people from video, and moves them.", width),
    ]
    for title, group in VERBS.items():
        lines += ["", _bold(f"{title}:", coloured)]
        for entry in group:
            first = f"  {entry.name}".ljust(column)
            lines.append(textwrap.fill(entry.sentence, width, initial_indent=first, subsequent_indent=" " * column))
    lines += ["", textwrap.fill("`ns-avatar VERB --help` lists the options of a verb and shows examples.", width)]
    lines += [textwrap.fill("To train an avatar, use nerfstudio's `ns-train`.", width)]
    return "\n".join(lines)


def _chosen(words: list[str]) -> VerbEntry:
    table = entries()
    if not words:
        raise UserError("expected a verb, such as `ns-avatar demo`. `ns-avatar --help` lists all of them.")
    name = words[0].replace("_", "-")
    if name not in table:
        # Not at the top of the module: every command would pay for what only a mistyped one needs.
        from difflib import get_close_matches

        close = get_close_matches(name, table, n=1)
        hint = f"Did you mean `ns-avatar {close[0]}`? " if close else ""
        raise UserError(f"{words[0]}: there is no such verb. {hint}`ns-avatar --help` lists all of them.")
    return table[name]


def _parse_with_all_verbs(words: list[str]) -> Verb:
    """Writes shell completions (`--tyro-print-completion bash`), for which tyro has to see every verb."""
    from functools import reduce
    from operator import or_
    from typing import Annotated

    import tyro

    verbs = [Annotated[entry.load(), tyro.conf.subcommand(entry.name)] for entry in entries().values()]  # type: ignore[misc]
    return tyro.cli(reduce(or_, verbs), prog="ns-avatar", args=words)  # type: ignore[call-overload]


def _coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") not in (None, "dumb")


def _bold(text: str, coloured: bool) -> str:
    return f"\033[1m{text}\033[0m" if coloured else text
