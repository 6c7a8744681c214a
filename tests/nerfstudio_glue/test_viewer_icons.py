"""viser's icons come from its archive, which is listed once."""

import tarfile

from viser import Icon, _gui_api, _icons

from nerfstudio_avatars.nerfstudio_glue.viewer_icons import read_icons_once

ICONS = (Icon.PLAYER_PLAY, Icon.USER, Icon.ROUTE)


def test_icons_are_viser_s_own_and_their_archive_is_opened_once(monkeypatch):
    own = [_icons.svg_from_icon(icon) for icon in ICONS]
    monkeypatch.setattr(_gui_api, "svg_from_icon", _icons.svg_from_icon)
    opened = []
    open_archive = tarfile.open
    monkeypatch.setattr(tarfile, "open", lambda *a, **k: opened.append(a) or open_archive(*a, **k))
    read_icons_once()
    assert [_gui_api.svg_from_icon(icon) for icon in ICONS * 2] == own * 2
    assert len(opened) == 1 and all("<svg" in one for one in own)
