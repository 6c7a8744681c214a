"""`ns-avatar view`: the studio for a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerfstudio_avatars.cli.run_option import AvatarOption


@dataclass(kw_only=True)
class View(AvatarOption):
    """Opens a finished run in the browser, to play motions, make poses, and take pictures and films."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets the whole network look."""
    port: int = 7007
    """Port to listen on; the next free one is taken if it is in use."""
    open_browser: bool = True
    """Whether to open the page in the browser of this computer."""
    data: Path | None = None
    """Data that it was trained on, to compare with; by default they are looked for where the run says they were."""

    def run(self) -> None:
        """Serves the page until Ctrl-C."""
        from nerfstudio_avatars.studio.opened_run import serve_run

        serve_run(self.load_config, self.host, self.port, self.open_browser, self.data)
