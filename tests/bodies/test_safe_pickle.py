"""Pickles: those that users bring are read, those that attack are refused before anything runs."""

from __future__ import annotations

import io
import os
import pickle
import sys
import types
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from nerfstudio_avatars.bodies.safe_pickle import UnsafePickleError, load_pickle_bytes_safely, load_pickle_safely
from nerfstudio_avatars.errors import DataError


class Calls:
    """Pickles as a call, as attackers' objects do."""

    def __init__(self, function, *args) -> None:
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.fixture
def chumpy(monkeypatch):
    """Modules that look like chumpy to pickle; they are gone when the file is read."""
    ch, reordering = types.ModuleType("chumpy.ch"), types.ModuleType("chumpy.reordering")
    ch.Ch = type("Ch", (), {"__module__": "chumpy.ch"})
    reordering.Select = type("Select", (ch.Ch,), {"__module__": "chumpy.reordering"})
    for module in (types.ModuleType("chumpy"), ch, reordering):
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def make(kind: str, **state):
        instance = {"Ch": ch.Ch, "Select": reordering.Select}[kind]()
        instance.__dict__.update(state)
        return instance

    return make


def write(path: Path, content: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_data_come_back_as_they_were(tmp_path, protocol):
    content = {
        "floats": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        "flags": np.array([True, False]),
        "names": np.array(["a", "bc"]),
        "objects": np.array([None, "x", 3], dtype=object),
        "scalar": np.float64(0.1),
        "nothing": np.zeros((0, 3), np.float32),
        "nested": [(1, 2.5, "text", b"bytes", b"", None, True), OrderedDict(a=1)],
    }
    read = load_pickle_safely(write(tmp_path / "plain.pkl", content, protocol))
    for key in ("floats", "fortran", "flags", "names", "objects", "nothing"):
        np.testing.assert_array_equal(read[key], content[key])
        assert read[key].dtype == content[key].dtype and read[key].flags.writeable
    assert read["scalar"] == content["scalar"] and read["nested"] == content["nested"]


def test_an_array_written_by_python_2_is_read(tmp_path):
    """Protocol 0 as Python 2 wrote it: old module names, byte strings, `copy_reg`."""
    text = (
        b"(dp0\nS'camera_f'\np1\n"
        b"cnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\ntp6\nRp7\n"
        b"(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'f8'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\n"
        b"bI00\nS'\\x00\\x00\\x00\\x00\\x00\\x00\\xf8?\\x00\\x00\\x00\\x00\\x00\\x00\\x04\\xc0'\np15\ntp16\nbs."
    )
    (tmp_path / "camera.pkl").write_bytes(text)
    np.testing.assert_array_equal(load_pickle_safely(tmp_path / "camera.pkl")["camera_f"], [1.5, -2.5])


@pytest.mark.parametrize("protocol", [0, 2])
def test_chumpy_arrays_are_rebuilt_without_chumpy(tmp_path, chumpy, monkeypatch, protocol):
    values = np.arange(12.0).reshape(4, 3)
    whole = chumpy("Ch", x=values, _dirty_vars={"x"} if protocol > 2 else [])
    chosen = chumpy("Select", a=whole, idxs=np.array([0, 4, 8, 11]), preferred_shape=(2, 2))
    path = write(tmp_path / "ch.pkl", {"whole": whole, "chosen": chosen, "again": whole}, protocol)
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        monkeypatch.delitem(sys.modules, name)
    read = load_pickle_safely(path)
    np.testing.assert_array_equal(read["whole"], values)
    np.testing.assert_array_equal(read["chosen"], [[0, 4], [8, 11]])
    assert read["again"] is read["whole"]


@pytest.mark.parametrize("kind", [scipy.sparse.csc_matrix, scipy.sparse.csr_matrix])
def test_sparse_matrices_come_back_dense(tmp_path, kind):
    dense = np.random.default_rng(0).random((5, 7)) * (np.random.default_rng(1).random((5, 7)) > 0.6)
    read = load_pickle_safely(write(tmp_path / "sparse.pkl", {"J_regressor": kind(dense)}))
    np.testing.assert_array_equal(read["J_regressor"], dense)


def test_a_sparse_matrix_with_indices_out_of_bounds_is_refused(tmp_path):
    matrix = scipy.sparse.csc_matrix(np.eye(4))
    matrix.indices[2] = 1_000_000
    with pytest.raises(DataError, match="plain data"):
        load_pickle_safely(write(tmp_path / "sparse.pkl", matrix))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_is_refused_and_nothing_runs(tmp_path, protocol):
    witness = tmp_path / "witness"
    command = f"touch '{witness}'"
    path = write(tmp_path / "SMPL_NEUTRAL.pkl", {"v_template": Calls(os.system, command)}, protocol)
    with pytest.raises(UnsafePickleError) as error:
        load_pickle_safely(path)
    assert not witness.exists()
    message = str(error.value)
    assert str(path) in message and "system" in message and "not executed" in message
    pickle.loads(path.read_bytes())
    assert witness.exists(), "the payload must be a working one"


@pytest.mark.parametrize(
    "call",
    [
        Calls(eval, "1"),
        Calls(exec, "1"),
        Calls(getattr, "text", "upper"),
        Calls(__import__, "os"),
        Calls(np.load, "x.npy"),
        Calls(io.open, "x"),
        Calls(scipy.sparse.load_npz, "x"),
        Calls(np.memmap, "x"),
    ],
    ids=lambda call: getattr(call.call[0], "__name__", "call"),
)
def test_functions_of_installed_libraries_are_refused(tmp_path, call):
    with pytest.raises(UnsafePickleError, match="not executed"):
        load_pickle_safely(write(tmp_path / "call.pkl", call))


@pytest.mark.parametrize(
    "opcodes",
    [
        b"cnumpy\nndarray\n(I5\ntR.",  # np.ndarray((5,)), which would show uninitialised memory
        b"c_codecs\nencode\n(Vx\nVrot13\ntR.",  # another codec
        b"c_codecs\nencode\n}b.",  # attributes set on one of the reader's own functions
        b"c_codecs\nencode\n.",  # a function returned as data
        b"ccopy_reg\n_reconstructor\n(c__builtin__\nobject\nNNtR.",  # an object of no known class
        b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR.",  # a structured type
        b"cchumpy.ch\nCh\n)\x81.",  # a chumpy array without its content
        b"cos.path\njoin\n.",
        b"garbage",
        b"",
        b"<!DOCTYPE html><html>please log in</html>",
    ],
)
def test_odd_and_damaged_pickles_give_one_clear_error(tmp_path, opcodes):
    path = tmp_path / "odd.pkl"
    path.write_bytes(opcodes)
    with pytest.raises(DataError) as error:
        load_pickle_safely(path)
    assert all(word in str(error.value) for word in ("odd.pkl", "found:", "expected:", "fix:"))


def test_a_truncated_pickle_gives_one_clear_error(tmp_path):
    path = write(tmp_path / "half.pkl", {"x": np.zeros(1000)})
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(DataError, match="whole pickle"):
        load_pickle_safely(path)


def test_a_missing_pickle_gives_one_clear_error(tmp_path):
    with pytest.raises(DataError, match="check the path"):
        load_pickle_safely(tmp_path / "nowhere.pkl")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_joblibs_raw_arrays_are_read_from_memory(protocol):
    joblib = pytest.importorskip("joblib")
    content = defaultdict(dict)
    content["floats"]["c"] = np.arange(6, dtype=np.float32).reshape(2, 3)
    content["floats"]["fortran"] = np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))
    content["others"] = [np.zeros((0, 3)), np.array(5), np.array(["a", "bc"]), np.array([None, {"x": 1}], dtype=object)]
    content["text"] = "behind the arrays"
    file = io.BytesIO()
    joblib.dump(content, file, protocol=protocol)
    read = load_pickle_bytes_safely(file.getvalue(), "tracks.pkl")
    assert read["text"] == content["text"] and type(read) is dict
    for ours, truth in zip(
        [*read["floats"].values(), *read["others"]], [*content["floats"].values(), *content["others"]], strict=True
    ):
        np.testing.assert_array_equal(ours, truth)
        assert ours.shape == truth.shape


def test_arrays_of_older_joblibs_lie_unaligned_in_the_stream():
    """Before joblib 1.1 the record had no alignment, and the bytes came at once."""
    numpy_pickle = pytest.importorskip("joblib.numpy_pickle")
    record = numpy_pickle.NumpyArrayWrapper(np.ndarray, (2,), "C", np.dtype("<f8"))
    del record.numpy_array_alignment_bytes
    stream = pickle.dumps(record, 2)
    content = stream[:-1] + np.array([1.5, -2.5]).tobytes() + stream[-1:]
    np.testing.assert_array_equal(load_pickle_bytes_safely(content, "old.pkl"), [1.5, -2.5])


@pytest.mark.parametrize("changes", [{"shape": (1 << 40,)}, {"shape": (-1,)}, {"dtype": "<f8"}, {"order": "Z"}])
def test_a_joblib_array_that_lies_about_itself_is_refused(changes):
    numpy_pickle = pytest.importorskip("joblib.numpy_pickle")
    record = numpy_pickle.NumpyArrayWrapper(np.ndarray, (2,), "C", np.dtype("<f8"))
    record.__dict__.update(changes)
    content = pickle.dumps(record, 2)[:-1] + bytes(40) + b"."
    with pytest.raises(DataError, match="plain data"):
        load_pickle_bytes_safely(content, "tracks.pkl")


def test_a_malicious_joblib_file_is_refused_and_nothing_runs(tmp_path):
    joblib = pytest.importorskip("joblib")
    path, witness = tmp_path / "tracks.pkl", tmp_path / "witness"
    joblib.dump({"pose": np.zeros(3), "more": Calls(os.system, f"touch '{witness}'")}, path)
    with pytest.raises(UnsafePickleError, match="system"):
        load_pickle_bytes_safely(path.read_bytes(), path)
    assert not witness.exists()
    joblib.load(path)
    assert witness.exists(), "the payload must be a working one"


def test_the_error_survives_a_worker_process(tmp_path):
    error = UnsafePickleError("file", "found", "expected", "fix")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is UnsafePickleError and str(again) == str(error)
