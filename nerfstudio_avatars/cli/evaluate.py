"""`ns-avatar evaluate`: held-out figures of trained runs, by our protocol or those of papers.

`ns-eval` averages over all held-out pictures. Views between training frames and poses that were never seen are
different questions, so they are reported separately here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nerfstudio_avatars.avatars.protocols import PROTOCOLS, Protocol, ProtocolName
from nerfstudio_avatars.errors import UserError

if TYPE_CHECKING:
    from nerfstudio_avatars.cli.evaluation.report import RunReport

JSON = "evaluation.json"
MARKDOWN = "evaluation.md"


@dataclass
class Evaluate:
    """Measures trained people on their held-out pictures, and writes tables and comparison pictures.

    Groups of pictures, such as novel views and novel poses, are reported separately.
    """

    load_config: tuple[Path, ...]
    """Trained runs to measure: folders, or the config.yml in them; of several, the mean is reported too."""
    protocol: ProtocolName = "ours"
    """Protocol to follow: `ours` measures all groups of pictures, choices of poses, and backgrounds.
    The protocols `novel-view` and `novel-pose` measure one group of pictures.
    With `instant-avatar-paper`, the background is white and poses are fitted to the test pictures.
    With `3dgs-avatar`, the background is black and poses are taken as given."""
    output: Path | None = None
    """Folder to write evaluation.json, evaluation.md and comparisons to, or a .json file for the figures alone.
    By default this is the folder `evaluation`, or `evaluation-PROTOCOL`, in the folder of the first run."""
    pictures: bool = True
    """Whether to write each held-out picture beside its rendering and error (x 4), in poses that use no test pixel."""

    def run(self) -> None:
        """Measures the runs, and writes and prints the figures."""
        from nerfstudio_avatars.avatars.run import find_config
        from nerfstudio_avatars.cli.evaluation.report import as_json, as_markdown, labels
        from nerfstudio_avatars.files import check_file, write_json, write_text

        if not self.load_config:
            raise UserError("--load-config: expected one or more runs.")
        protocol = PROTOCOLS[self.protocol]
        configs = [find_config(path) for path in self.load_config]
        alone = self.output is not None and self.output.suffix == ".json"
        folder = self.output or configs[0].parent / _default_name(protocol)
        file = folder if alone else folder / JSON
        check_file(file)
        pictures = folder / "pictures" if self.pictures and not alone else None
        places = [pictures / f"run-{n}" if pictures and configs[1:] else pictures for n in range(1, len(configs) + 1)]
        runs = [report_on(config, protocol, place) for config, place in zip(configs, places, strict=True)]
        write_json(file, as_json(runs, protocol))
        text = as_markdown(runs, protocol)
        if not alone:
            write_text(folder / MARKDOWN, text)
        print(text)
        print(f"Evaluated {', '.join(labels(runs))} ({protocol.name}): {folder}")


def report_on(config: Path, protocol: Protocol, pictures: Path | None = None) -> RunReport:
    """Opens a run and measures it under a protocol.

    Args:
        config: the run's config.yml.
        protocol: what to render and how.
        pictures: the folder for comparison pictures.
    """
    from nerfstudio_avatars.avatars.measure import follow, measure
    from nerfstudio_avatars.avatars.run import load_run
    from nerfstudio_avatars.cli.evaluation.differences import differences, facts_of
    from nerfstudio_avatars.cli.evaluation.report import RunReport
    from nerfstudio_avatars.unsup_volanim.model import UnsupVolanimModel

    run = load_run(config, need_data=True)
    if isinstance(run.model, UnsupVolanimModel):
        raise UserError(
            f"{config}: a run of {run.config.method}. Expected a run of instant-avatar, which these "
            "protocols are made for. Use `ns-avatar evaluate-animation` or `ns-eval`."
        )
    facts = facts_of(run)
    follow(protocol, run.model)
    measured = measure(run, protocol.groups, pictures)
    return RunReport(
        run=config.parent.as_posix(),
        subject=facts.subject,
        groups=measured.groups,
        frames=measured.frames,
        render_fps=measured.render_fps,
        step=run.step,
        differences=differences(facts, protocol),
        outlier_frames=run.model.outlier_frames(),
    )


def _default_name(protocol: Protocol) -> str:
    return "evaluation" if protocol.name == "ours" else f"evaluation-{protocol.name}"
