"""Where kernels are kept, if the home is read-only too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nerfstudio_avatars import kernel_cache

CODE = """
import os, sys
from pathlib import Path
from nerfstudio_avatars import kernel_cache
kernel_cache._can_be_written = lambda folder: False
kernel_cache.settle()
from numba import njit
exec(compile("def twice(x): return 2 * x", sys.argv[1], "exec"))
print(njit(cache=True)(twice)(21), os.environ["NUMBA_CACHE_DIR"], len(os.listdir(os.environ["NUMBA_CACHE_DIR"])))
"""


def test_without_any_place_kernels_live_as_long_as_the_process(tmp_path):
    source = tmp_path / "source.py"
    source.touch()
    environment = {key: value for key, value in os.environ.items() if key != kernel_cache.VARIABLE}
    command = [sys.executable, "-c", CODE, str(source)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    result, place, kept = done.stdout.split()
    assert (result, kept) == ("42", "1") and not Path(place).exists()


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="about /proc")
def test_a_folder_that_only_seems_to_be_writable_is_none(tmp_path):
    assert not kernel_cache._can_be_written(Path("/proc/nowhere"))
    assert kernel_cache._can_be_written(tmp_path / "new" / "one")
