"""The page that shows an avatar: the video beside the result, the avatar live, figures, comparisons, next commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from nerfstudio_avatars.avatars.results import COMPARISONS, LOOKS, TURNTABLE, VIDEO, WALK
from nerfstudio_avatars.demo.page_style import STYLE
from nerfstudio_avatars.files import write_text
from nerfstudio_avatars.media.contact_sheet import spread
from nerfstudio_avatars.media.picture_files import read_picture

_COLUMNS = {
    "train_seconds": ("training, s", ".1f"),
    "steps": ("steps", "d"),
    "novel_view_psnr": ("views PSNR, dB", ".2f"),
    "novel_view_ssim": ("views SSIM", ".4f"),
    "novel_pose_psnr": ("poses PSNR, dB", ".2f"),
    "novel_pose_ssim": ("poses SSIM", ".4f"),
    "novel_view_box_psnr": ("views PSNR in the box, dB", ".2f"),
    "novel_pose_box_psnr": ("poses PSNR in the box, dB", ".2f"),
    "render_fps": ("pictures per second", ".2f"),
}
"""Figures of a training, with their headings and formats; a column is left out if no training has it."""
SHOWN = 12
"""Number of held-out comparisons that are shown; the rest is folded."""
_VIDEOS = {
    VIDEO: ("The video", "The person in the video that the avatar was learnt from"),
    TURNTABLE: ("The avatar turns", "The avatar, turning in the pose of the first frame"),
    WALK: ("The avatar walks: a motion that is not in the video", "The avatar, walking"),
}
_PSNR = (
    "PSNR says how near a picture comes to the true one, in decibels: 20 dB is a likeness, 30 dB is hard to tell apart "
    "at a glance, and 6 dB more halve the error. SSIM compares structure; 1 is the same picture."
)


@dataclass(frozen=True)
class ResultPage:
    """What the page says. Pictures and films are taken from its folder, where they are there."""

    title: str
    told: list[str]
    """Paragraphs at the top, plain text."""
    live: str
    """Name of the page in which the avatar moves."""
    next: list[str]
    """Commands to type next, in the folder of the page."""
    trainings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Figures of each training by its name, from the shortest to the longest; see `_COLUMNS`."""
    size: int = 400
    """Longer side of the videos in pixels, which is how large they are shown at most."""
    remarks: list[str] = field(default_factory=list)
    """Remarks on the video, plain text."""


def write_result_page(output: Path, page: ResultPage) -> Path:
    """Writes `index.html`, whose links point only into its folder.

    Returns:
        The path of the page.
    """
    parts = [
        f"<h1>{escape(page.title)}</h1>",
        *(f"<p>{escape(text)}</p>" for text in page.told),
        _videos(output, page.size),
        _live(page.live),
        _list("About the video", page.remarks),
        _looks(output, page),
        _figures(page),
        _comparisons(output),
        _next(page.next),
    ]
    file = output / "index.html"
    write_text(
        file,
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(page.title)}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n",
    )
    return file


def _videos(output: Path, size: int) -> str:
    figures = "".join(
        f'<figure><video src="{name}" style="max-width: {size}px" autoplay loop muted controls playsinline '
        f'aria-label="{label}" title="{label}"></video><figcaption>{caption}</figcaption></figure>\n'
        for name, (caption, label) in _VIDEOS.items()
        if (output / name).is_file()
    )
    return figures and f'<div class="row">\n{figures}</div>'


def _live(name: str) -> str:
    link = escape(name)
    return (
        "<h2>The avatar, live</h2>\n<p>A mesh of the avatar, drawn by your browser: drag to turn it, and choose what "
        f'it does. It is one file, <a href="{link}">{link}</a>, which you can pass on.</p>\n'
        f'<iframe src="{link}" title="The avatar, live" loading="lazy"></iframe>'
    )


def _list(title: str, lines: list[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>\n" for line in lines)
    return items and f"<h2>{title}</h2>\n<ul>\n{items}</ul>"


def _looks(output: Path, page: ResultPage) -> str:
    captions = ["The true picture, never trained on", *(f"After {name}" for name in page.trainings)]
    files = [output / LOOKS / f"{number}.png" for number in range(len(captions))]
    if len(captions) < 2 or not all(file.is_file() for file in files):
        return ""
    figures = "".join(
        f'<figure><img src="{LOOKS}/{file.name}" {_size(file)} alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
        for file, caption in zip(files, captions, strict=True)
    )
    return f'<h2>What training time gives</h2>\n<div class="looks">\n{figures}</div>'


def _figures(page: ResultPage) -> str:
    if not page.trainings:
        return ""
    columns = {key: one for key, one in _COLUMNS.items() if any(key in row for row in page.trainings.values())}
    header = "".join(f"<th>{escape(title)}</th>" for title, _ in columns.values())
    rows = "".join(
        f"<tr><th>{escape(name)}</th>"
        + "".join(f"<td>{_number(figures.get(key), form)}</td>" for key, (_, form) in columns.items())
        + "</tr>\n"
        for name, figures in page.trainings.items()
    )
    poses = " Poses are new poses, seen by other cameras." if "novel_pose_psnr" in columns else ""
    return (
        f"<h2>Held-out figures</h2>\n<p>{_PSNR}</p>\n"
        f"<p>Views are pictures between the training frames.{poses} Figures are for the whole picture on white, or for "
        "the box around the body, where they are lower because there is no easy background.</p>\n"
        f'<div class="wide"><table><tr><th>training</th>{header}</tr>\n{rows}</table></div>'
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _comparisons(output: Path) -> str:
    pictures = sorted((output / COMPARISONS).glob("*.png"))
    if not pictures:
        return ""
    first = set(spread(len(pictures), SHOWN))
    figures = [_comparison(path) for path in pictures]
    shown = "".join(figure for number, figure in enumerate(figures) if number in first)
    more = "".join(figure for number, figure in enumerate(figures) if number not in first)
    folded = (
        more
        and f'<details><summary>{len(figures) - len(first)} more</summary>\n<div class="pairs">\n{more}</div></details>'
    )
    return f'<h2>Held-out comparisons</h2>\n<div class="pairs">\n{shown}</div>{folded}'


def _comparison(picture: Path) -> str:
    group, _, frame = picture.stem.rpartition("-")
    what = escape(f"{group.replace('_', ' ')}, frame {int(frame)}")
    return (
        f'<figure><img loading="lazy" src="{COMPARISONS}/{picture.name}" {_size(picture)} '
        f'alt="{what}: the true picture, the avatar, and the error times four">'
        f"<figcaption>{what}: truth, avatar, error x 4</figcaption></figure>\n"
    )


def _size(picture: Path) -> str:
    """Attributes that keep a picture's place before it is loaded."""
    height, width, _ = read_picture(picture).rgb.shape
    return f'width="{width}" height="{height}"'


def _next(commands: list[str]) -> str:
    lines = "\n".join(escape(command) for command in commands)
    return lines and f"<h2>What to type next</h2>\n<p>In the folder of this page:</p>\n<pre>{lines}</pre>"
