"""Standard streams that are closed or full."""

import os
import subprocess
import sys

import pytest

CODE = """
import os, sys
from nerfstudio_avatars.standard_streams import lost_output, settle_streams
settle_streams()
with open(sys.argv[1], "w") as file:
    os.write(1, b"of a library in C")
    print("of Python")
    print("of Python, too", file=sys.stderr)
    assert lost_output() is None
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX shells")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_printed_to_a_closed_stream_lands_in_no_file(closed, tmp_path):
    file = tmp_path / "file"
    command = f"exec {sys.executable} -c '{CODE}' {file} {closed}"
    assert subprocess.run(["sh", "-c", command], check=False, cwd=tmp_path, stderr=subprocess.PIPE).returncode == 0
    assert file.read_bytes() == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has this device")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_output_is_told_once_and_forgotten(unbuffered):
    code = """
import sys
from nerfstudio_avatars.standard_streams import lost_output
try:
    print("lost", flush=True)
except OSError as error:
    first = lost_output(error)
print("not heard either")
print(first.filename, first.strerror, lost_output(OSError()), file=sys.stderr)
"""
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=True
        )
    assert done.stderr == "standard output No space left on device None\n"


@pytest.mark.parametrize("encoding", ["utf8:strict", "ascii:strict", "ascii:surrogateescape", "cp1252:strict"])
def test_every_letter_and_every_path_can_be_printed(encoding):
    code = r"""
from nerfstudio_avatars.standard_streams import settle_streams
settle_streams()
print("\u4f60 \u2265 caf\udce9")
"""
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert done.stdout.rstrip().endswith(b"caf\\udce9") and done.stderr == b""
