"""`ns-avatar process`: turns a phone video into a subject to train on."""

from __future__ import annotations

from dataclasses import dataclass

from nerfstudio_avatars.process.own_video import SHEET, OwnVideo


@dataclass
class Process(OwnVideo):
    """Turns a video of one person turning around into a folder that `ns-train instant-avatar` can train on.

    The camera should stand still while the person turns around slowly. Masks and landmarks are found by MediaPipe's
    models, which ship with this package, and a body model is fitted to them.
    """

    def run(self) -> None:
        """Writes the subject, says what was found, and what to type next if an avatar can come of it."""
        found = self.process()
        print(f"Wrote frames, masks and poses: {self.folder}")
        print(f"Check how the body fits the pictures: {self.folder / SHEET}")
        print("\n".join(found.lines))
        if found.obstacles:
            print("No good avatar can be learnt from this video.")
            return
        named = "" if self.body in ("auto", "standin", "smpl") else f" people-snapshot --body {self.body}"
        print(f"Next: ns-train instant-avatar --data {self.folder}{named}   (instant-avatar-cpu without a GPU)")
