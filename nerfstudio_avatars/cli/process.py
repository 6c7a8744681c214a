"""`ns-avatar process`: turns a phone video into a subject to train on."""

from __future__ import annotations

from dataclasses import dataclass

from nerfstudio_avatars.process.own_video import OwnVideo


@dataclass
class Process(OwnVideo):
    """Turns a video of one person turning around into a folder that `ns-train instant-avatar` can train on.

    The camera has to stand still while the person turns around slowly. Masks and landmarks are found by MediaPipe's
    models, which ship with this package, and a body model is fitted to them.
    """

    def run(self) -> None:
        """Writes the subject, prints remarks, and says what to type next."""
        for line in self.process():
            print(line)
        named = "" if self.body in ("auto", "standin", "smpl") else f" people-snapshot --body {self.body}"
        print(f"Next: ns-train instant-avatar --data {self.folder}{named}   (instant-avatar-cpu without a GPU)")
