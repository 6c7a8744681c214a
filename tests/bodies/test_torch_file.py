"""Files of torch: plain tensors are read, and nobody is advised to switch the safety off."""

import io
import os
import zipfile

import pytest
import torch

from nerfstudio_avatars.bodies.torch_file import ForeignObjects, load_tensors


class _Runs:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


def _saved(value, new=True):
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=new)
    return file.getvalue()


@pytest.mark.parametrize("new", [True, False])
def test_tensors_come_back_as_they_were(new):
    value = {"a": torch.arange(6).view(2, 3), "b": [torch.ones(2), "text", 3.5, None]}
    read = load_tensors(_saved(value, new))
    assert torch.equal(read["a"], value["a"]) and read["b"][1:] == ["text", 3.5, None]


@pytest.mark.parametrize("new", [True, False])
def test_other_objects_are_named_and_never_made(tmp_path, new):
    with pytest.raises(ForeignObjects, match=r"the name `(posix|nt)\.mkdir` \(not executed\)") as error:
        load_tensors(_saved({"a": _Runs(tmp_path / "pwned")}, new))
    assert not (tmp_path / "pwned").exists() and "weights_only" not in str(error.value)


@pytest.mark.filterwarnings("ignore")
def test_scripts_are_no_files_of_tensors():
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    with pytest.raises(ValueError) as error:
        load_tensors(file.getvalue())
    assert "weights_only" not in str(error.value)


@pytest.mark.parametrize("new", [True, False])
def test_damage_is_told(new):
    whole = _saved({"a": torch.zeros(100)}, new)
    for content in (whole[:-20], whole[: len(whole) // 2], b"", b"noise", bytes(len(whole))):
        with pytest.raises(ValueError) as error:
            load_tensors(content)
        assert "weights_only" not in str(error.value)


def test_an_archive_that_grows_is_refused():
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(_saved(torch.zeros(10**6)))) as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for one in source.infolist():
            target.writestr(one.filename, source.read(one))
    with pytest.raises(ValueError, match="unpacks to more|damaged"):
        load_tensors(packed.getvalue())
