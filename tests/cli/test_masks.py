"""`ns-avatar masks`: what it takes."""

import pytest

from nerfstudio_avatars.cli import main


@pytest.mark.parametrize(("name", "found"), [("file", "is a file"), ("none", "no such folder")])
def test_what_is_no_folder_is_told_by_what_masks_takes(name, found, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as end:
        main(["masks", str(tmp_path / name)])
    said = capsys.readouterr().err
    assert end.value.code == 2 and f"{tmp_path / name}: {found}" in said and "ns-avatar masks FOLDER" in said
