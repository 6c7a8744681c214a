"""Archives that lead elsewhere, run code, or claim more than they are."""

import io
import resource
import zipfile

import h5py
import numpy as np
import pytest

from nerfstudio_avatars.errors import DataError
from nerfstudio_avatars.media.hdf5_file import own_dataset
from nerfstudio_avatars.media.npz_file import open_npz


def _npy(header, content=b""):
    text = header.encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def _archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def test_arrays_come_back_as_numpy_wrote_them(tmp_path):
    arrays = {
        "a": np.arange(12.0).reshape(3, 4),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "text": np.array("name"),
        "none": np.zeros((0, 3)),
        "scalar": np.array(7),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    with open_npz(tmp_path / "a.npz") as file:
        assert set(file.files) == set(arrays) and "b" not in file
        for name, one in arrays.items():
            assert file[name].dtype == one.dtype and np.array_equal(file[name], one)
        with pytest.raises(KeyError):
            file["b"]


CLAIMS = {
    "huge": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 1000000000), }"),
    "more than there is": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000,), }", bytes(10)),
    "below zero": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }"),
    "objects": _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"cos\nsystem\n(S'touch pwned'\ntR."),
    "a record": _npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }", bytes(8)),
    "a header that is code": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (__import__('os').getpid(),), }"),
    "noise": b"\x00" * 50,
    "nothing": b"",
}


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_are_refused_before_memory_is_taken(name, tmp_path):
    path = _archive(tmp_path / "a.npz", a=CLAIMS[name], good=_npz_member(np.ones(3)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError), open_npz(path) as file:
        assert file["good"].sum() == 3, "what is sound is read; what is not asked for is not looked at"
        file["a"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def _npz_member(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("content", [b"", b"noise", b"PK\x03\x04cut", _npz_member(np.ones(3))])
def test_what_is_no_archive_is_told(content, tmp_path):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match="not a whole"), open_npz(tmp_path / "a.npz"):
        pass
    with pytest.raises(DataError), open_npz(tmp_path):
        pass


def _external(file, other):
    file["masks"] = h5py.ExternalLink(str(other), "secret")


def _soft(file, other):
    file["group"] = h5py.ExternalLink(str(other), "/")
    file["masks"] = h5py.SoftLink("/group/secret")


def _virtual(file, other):
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(other), "secret", (3,))
    file.create_virtual_dataset("masks", layout)


def _raw(file, other):
    file.create_dataset("masks", (3,), "u1", external=[(str(other), 0, 3)])


def _group(file, other):
    file.create_group("masks")


def _text(file, other):
    file["masks"] = "hello"


def _references(file, other):
    file.create_dataset("masks", (1,), h5py.ref_dtype)


def _huge(file, other):
    file.create_dataset("masks", (10**6, 10**6), "f8", chunks=(1, 10))


def _huge_chunk(file, other):
    file.create_dataset("masks", (1,), "u1", chunks=(1,), maxshape=(None,)).resize((5 * 10**9,))


def _empty(file, other):
    file["masks"] = h5py.Empty("f8")


def _plugin(file, other):
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((3,))
    made.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, ())
    h5py.h5d.create(file.id, b"masks", h5py.h5t.NATIVE_UINT8, h5py.h5s.create_simple((3,)), made)


WAYS = (_external, _soft, _virtual, _raw, _group, _text, _references, _huge, _huge_chunk, _empty, _plugin)


@pytest.mark.parametrize("way", WAYS)
def test_hdf5_is_read_where_it_lies_itself(way, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.ones(3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        way(file, tmp_path / "other.h5")
        file.create_dataset("good", data=np.arange(3), compression="gzip", shuffle=True)
    with h5py.File(tmp_path / "a.h5", "r") as file:
        assert own_dataset(file, "good")[()].sum() == 3
        with pytest.raises(ValueError):
            own_dataset(file, "masks")
        with pytest.raises(KeyError, match="good"):
            own_dataset(file, "gone")
