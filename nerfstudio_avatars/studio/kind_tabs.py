"""The tabs of a kind of object."""

from __future__ import annotations

from collections.abc import Callable

import viser

from nerfstudio_avatars.studio.driving_panel import DrivingPanel
from nerfstudio_avatars.studio.kind_show import KindShow
from nerfstudio_avatars.studio.kind_take_panel import KindTakePanel
from nerfstudio_avatars.studio.parts_panel import PartsPanel
from nerfstudio_avatars.studio.render_loop import RenderLoop
from nerfstudio_avatars.studio.sight import Sight
from nerfstudio_avatars.studio.who_panel import WhoPanel


def add_kind_tabs(
    server: viser.ViserServer,
    tabs: viser.GuiTabGroupHandle,
    show: KindShow,
    loop: RenderLoop,
    sight: Callable[[viser.ClientHandle], Sight],
) -> list[Callable[[], None]]:
    """Adds them.

    Args:
        server: the page.
        tabs: where they stand.
        show: the kind.
        loop: draws it.
        sight: gives the camera of whoever asks.

    Returns:
        What shows in the widgets where things stand now.
    """

    def sharpen(side: int) -> None:
        loop.schedule.full_side = side

    with tabs.add_tab("Who", viser.Icon.USERS):
        who = WhoPanel(server, show, loop.changed)
    with tabs.add_tab("Motion", viser.Icon.MOVIE):
        driving = DrivingPanel(server, show, loop.changed)
    with tabs.add_tab("Look", viser.Icon.PALETTE):
        PartsPanel(server, show, loop.changed, sharpen, loop.schedule.full_side)
    with tabs.add_tab("Take", viser.Icon.DOWNLOAD):
        KindTakePanel(server, show, sight)
    return [who.refresh, driving.refresh]
