"""Portable files taken apart, changed, and put together again, by the letter of their format."""

import json
import struct

import numpy as np


def parts(path):
    """Header and data, by the format's letter."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])


def written(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))
    return path


def array_changed(name, change, dtype="<f4"):
    """A change of the numbers of an array."""

    def case(header, data):
        start, end = header[name]["data_offsets"]
        values = np.frombuffer(bytes(data[start:end]), dtype).copy()
        change(values)
        data[start:end] = values.tobytes()
        return header, data

    return case


def entry_changed(name, **changes):
    def case(header, data):
        header[name] |= changes
        return header, data

    return case


def set_at(index, value):
    return lambda values: values.__setitem__(index, value)
