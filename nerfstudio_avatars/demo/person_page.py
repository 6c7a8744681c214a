"""The page of the demo: videos, figures and held-out comparisons in one file that opens from disk."""

from __future__ import annotations

from html import escape
from pathlib import Path

from nerfstudio_avatars.files import write_text

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }
video { width: 49%; background: #fff; border: 1px solid #ddd; border-radius: 6px; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; }
td { text-align: right; font-variant-numeric: tabular-nums; } figure { margin: 1rem 0; }
iframe { width: 100%; height: 34rem; border: 1px solid #ddd; border-radius: 6px; }
figure img { width: 100%; border: 1px solid #ddd; border-radius: 6px; } figcaption { color: #666; font-size: .9rem; }
"""

LIVE = "avatar.html"
"""The page in which the avatar moves, beside the demo's own."""

COLUMNS = {
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


def write_person_page(output: Path, report: dict) -> Path:
    """Writes `index.html`, whose links point only into its folder.

    Args:
        output: the folder of the demo, which holds `turntable.mp4`, `walk.mp4`, `avatar.html` and
            `held-out/eval_img_*.png`.
        report: the contents of `report.json`.

    Returns:
        The path of the page.
    """
    header = "".join(f"<th>{escape(title)}</th>" for title, _ in COLUMNS.values())
    rows = "".join(
        f"<tr><th>{escape(budget)} s</th>"
        + "".join(f"<td>{figures[key]:{form}}</td>" for key, (_, form) in COLUMNS.items())
        + "</tr>"
        for budget, figures in report["by_budget"].items()
    )
    videos = "".join(
        f'<video src="{name}" autoplay loop muted controls playsinline title="{name}"></video>\n'
        for name in ("turntable.mp4", "walk.mp4")
    )
    pictures = "".join(
        f'<figure><img loading="lazy" src="{path.relative_to(output).as_posix()}" alt="">'
        f"<figcaption>held-out picture {index + 1}: truth, rendering, error x 4</figcaption></figure>\n"
        for index, path in enumerate(sorted((output / "held-out").glob("eval_img_*.png")))
    )
    page = output / "index.html"
    write_text(
        page,
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>nerfstudio-avatars: demo</title><style>{STYLE}</style></head><body>
<h1>A person learnt from a video</h1>
<p>Trained with <code>{escape(report["method"])}</code> on {escape(report["device"])}.
Left: turning in the pose of the first frame. Right: walking, a motion that was not in the training video.</p>
{videos}
<h2>The avatar, live</h2>
<p>A mesh of the avatar, drawn by your browser: drag to turn it, and choose what it does.
It is one file, <a href="{LIVE}">{LIVE}</a>, which you can pass on.</p>
<iframe src="{LIVE}" title="The avatar, live" loading="lazy"></iframe>
<h2>Held-out figures</h2>
<p>Views are pictures between the training frames; poses are new poses, seen by other cameras. Figures are for the whole
picture on white, or for the box around the body, where they are lower because there is no easy background.</p>
<table><tr><th>training time</th>{header}</tr>{rows}</table>
<h2>Held-out comparisons</h2>
{pictures}</body></html>
""",
    )
    return page
