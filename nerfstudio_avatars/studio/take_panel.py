"""The tab that takes out of the program what it shows: pictures, films, motions, and the avatar as a file."""

from __future__ import annotations

from collections.abc import Callable

import viser

from nerfstudio_avatars.motion.writing import ENDINGS
from nerfstudio_avatars.studio.avatar_files import FORMATS, AvatarFile, take_avatar
from nerfstudio_avatars.studio.job import Job, JobStopped
from nerfstudio_avatars.studio.origin import Origin
from nerfstudio_avatars.studio.person_show import PersonShow
from nerfstudio_avatars.studio.sight import Sight
from nerfstudio_avatars.studio.takes import Film, FilmCamera, take_film, take_motion, take_picture

_CAMERAS: tuple[FilmCamera, ...] = ("as seen", "turning", "camera path")
_NO_PATH = "none yet"


class TakePanel:
    """Adds its widgets where the panel stands.

    Args:
        server: the page.
        show: the person.
        sight: gives the camera of whoever asked.
        origin: where the person comes from.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        show: PersonShow,
        sight: Callable[[viser.ClientHandle], Sight],
        origin: Origin,
    ) -> None:
        self._show, self._sight, self._origin = show, sight, origin
        self._paths = origin.folder / "camera_paths"
        gui = server.gui
        with gui.add_folder("Picture"):
            self._add_picture(gui)
        with gui.add_folder("Film"):
            self._add_film(gui)
        with gui.add_folder("Motion"):
            self._add_motion(gui)
        with gui.add_folder("Avatar"):
            self._add_avatar(gui)

    def _add_picture(self, gui: viser.GuiApi) -> None:
        side = gui.add_number("Pixels", 1024, min=16, max=8192, step=1, hint="Sets the longer side of the picture.")

        def take(client: viser.ClientHandle, _: Job) -> tuple[str, bytes]:
            return "avatar.png", take_picture(self._show, self._sight(client), int(side.value))

        hint = "Saves what is shown now as a PNG."
        Job(gui, "Take picture", viser.Icon.CAMERA, hint, take, "No picture was taken")

    def _add_film(self, gui: viser.GuiApi) -> None:
        camera = gui.add_dropdown("Camera", _CAMERAS, "as seen", hint="Chooses how the camera moves.")
        path = gui.add_dropdown("Camera path", (_NO_PATH,), _NO_PATH, visible=False)
        seconds = gui.add_number("Seconds", 0.0, min=0.0, max=600.0, step=0.5, hint="0 plays the motion once.")
        fps = gui.add_number("Frames per second", 24, min=1, max=120, step=1)
        pixels = gui.add_number("Pixels", 720, min=16, max=4096, step=2, hint="Sets the longer side of the pictures.")

        @camera.on_update
        def _(_: viser.GuiEvent) -> None:
            path.visible = camera.value == "camera path"
            path.options = tuple(sorted(found.name for found in self._paths.glob("*.json"))) or (_NO_PATH,)

        def take(client: viser.ClientHandle, job: Job) -> tuple[str, bytes]:
            chosen = None if path.value == _NO_PATH else self._paths / path.value
            film = Film(camera.value, chosen, float(seconds.value), int(fps.value), int(pixels.value))

            def progress(done: int, total: int) -> None:
                job.tell(done, total, f"Picture {done} of {total}")

            taken = take_film(self._show, self._sight(client), film, progress, lambda: job.stopped)
            if taken is None:
                raise JobStopped
            return "avatar.mp4", taken

        Job(gui, "Film", viser.Icon.MOVIE, "Films the chosen motion as an mp4.", take, "Nothing was filmed")

    def _add_motion(self, gui: viser.GuiApi) -> None:
        ending = gui.add_dropdown("File", ENDINGS, ENDINGS[0], hint="Chooses BVH, npz, or GLB with a skeleton alone.")

        def take(_: viser.ClientHandle, __: Job) -> tuple[str, bytes]:
            return f"motion{ending.value}", take_motion(self._show, ending.value)

        hint = "Saves the chosen motion, in its place."
        Job(gui, "Take motion", viser.Icon.RUN, hint, take, "The motion was not saved")

    def _add_avatar(self, gui: viser.GuiApi) -> None:
        kind = gui.add_dropdown(
            "Format",
            FORMATS,
            FORMATS[0],
            hint="Chooses a GLB with skeleton and motion, one web page of it, a VRM, plain triangles, or the portable "
            "avatar that this program opens.",
        )
        with gui.add_folder("More", expand_by_default=False):
            triangles = gui.add_number("Triangles", 40_000, 100, 2_000_000, 100, hint="Sets how many there may be.")
            texture = gui.add_number("Texels", 1024, 64, 8192, 64, hint="Sets the side of the texture.")
            maker = gui.add_text("Maker", "", hint="Names who made the avatar, in the file.")
            licence = gui.add_text("Licence", "", hint="Says in the file what others may do with it.")

        def take(_: viser.ClientHandle, job: Job) -> tuple[str, bytes]:
            sizes = int(triangles.value), int(texture.value)
            file = AvatarFile(self._origin.name, kind.value, *sizes, maker.value.strip(), licence.value.strip())
            return take_avatar(self._show, self._origin.run(self._show.model), file, job.tell)

        hint = "Saves the person, with the chosen motion where the format has room for it."
        Job(gui, "Take avatar", viser.Icon.DOWNLOAD, hint, take, "The avatar was not saved")
