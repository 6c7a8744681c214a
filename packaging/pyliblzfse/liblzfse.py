"""Stands in for pyliblzfse, which has no wheels for today's Pythons.

viser 0.2.7, which nerfstudio 1.1.5 pins, requires it, but only to read Record3D captures. With a C compiler at hand,
install the real one: pip install --force-reinstall --no-deps pyliblzfse
"""


def decompress(data: bytes) -> bytes:
    """Cannot: says what to install."""
    raise ImportError(
        "Record3D captures need pyliblzfse, which must be compiled: pip install --force-reinstall --no-deps pyliblzfse"
    )
