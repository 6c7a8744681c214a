"""Every benchmark can be asked for help and is explained; one of them is run for a moment."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SHARED = {"stand_in", "painted_person"}


def _run(script: str, *options: str) -> str:
    command = [sys.executable, "-W", "ignore", str(FOLDER / script), *options]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout


def _scripts() -> list[str]:
    return sorted(
        path.name for path in FOLDER.glob("*.py") if path.stem not in SHARED and "__main__" in path.read_text()
    )


def test_every_script_is_in_the_readme():
    text = (FOLDER / "README.md").read_text()
    assert [name for name in _scripts() if f"## `{name}`" not in text] == []


@pytest.mark.slow
def test_the_encoding_prints_one_json_object_with_its_memory():
    found = json.loads(_run("encoding.py", "--points", "512", "--repetitions", "1"))
    assert found["peak_memory_mb"] > 100
    small, large = found["cpu_10x16"], found["gpu_16x19"]
    assert small["table_mb"] < large["table_mb"]
    assert all(value > 0 for value in small.values())
    assert {"torch_forward_backward_ms", "nerfstudio_torch_forward_backward_ms"} <= set(small)
