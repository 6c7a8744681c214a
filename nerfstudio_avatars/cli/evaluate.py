"""`ns-avatar evaluate`: held-out figures of trained runs, by our protocol or those of papers.

`ns-eval` averages over all held-out pictures. Views between training frames and poses that were never seen are
different questions, so they are reported separately here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerfstudio_avatars.avatars.protocols import PROTOCOLS, Protocol, ProtocolName
from nerfstudio_avatars.errors import UserError

JSON = "evaluation.json"
_MARKDOWN = "evaluation.md"


@dataclass
class Evaluate:
    """Measures trained people on their held-out pictures, and writes tables and comparison pictures.

    Groups of pictures, such as novel views and novel poses, are reported separately.
    """

    load_config: tuple[Path, ...]
    """Trained runs to measure: folders, the config.yml in them, or portable avatars.
    Of several, the mean is reported too."""
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
    data: Path | None = None
    """Folder of the pictures that a portable avatar (.avatar) was trained on; runs know their own."""

    def run(self) -> None:
        """Measures the runs, and writes and prints the figures."""
        from nerfstudio_avatars.avatars.evaluation.one_run import report_on
        from nerfstudio_avatars.avatars.evaluation.report import as_json, as_markdown, labels
        from nerfstudio_avatars.avatars.run import find_run
        from nerfstudio_avatars.files import check_file, write_json, write_text

        if not self.load_config:
            raise UserError("--load-config: expected one or more runs.")
        protocol = PROTOCOLS[self.protocol]
        configs = [find_run(path) for path in self.load_config]
        alone = self.output is not None and self.output.suffix == ".json"
        folder = self.output or configs[0].parent / _default_name(protocol)
        file = folder if alone else folder / JSON
        check_file(file)
        pictures = folder / "pictures" if self.pictures and not alone else None
        places = [pictures / f"run-{n}" if pictures and configs[1:] else pictures for n in range(1, len(configs) + 1)]
        runs = [report_on(config, protocol, place, self.data) for config, place in zip(configs, places, strict=True)]
        write_json(file, as_json(runs, protocol))
        text = as_markdown(runs, protocol)
        if not alone:
            write_text(folder / _MARKDOWN, text)
        print(text)
        print(f"Evaluated {', '.join(labels(runs))} ({protocol.name}): {folder}")


def _default_name(protocol: Protocol) -> str:
    return "evaluation" if protocol.name == "ours" else f"evaluation-{protocol.name}"
