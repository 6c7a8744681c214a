"""Networks in tflite files."""

import os
from pathlib import Path

import pytest

import nerfstudio_avatars
from nerfstudio_avatars import tflite

NETWORK = next((Path(nerfstudio_avatars.__file__).parent / "assets/face").glob("*.tflite"))


@pytest.mark.skipif(not tflite.runtime_is_installed(), reason="the extra `faces` is not installed")
def test_the_runtime_greets_nobody_and_later_words_are_heard(capfd):
    tflite.Network(NETWORK, "tests")
    os.write(2, b"later")
    assert capfd.readouterr().err == "later"
