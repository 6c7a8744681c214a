"""Programs of npm that judge our files."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from three_picture import npm_folder

_VALIDATE = """
const validator = require("gltf-validator"), fs = require("fs");
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
  .then(report => console.log(JSON.stringify(report.issues)));
"""


def node_package(name: str) -> Path:
    """The folder of a package of npm."""
    place = npm_folder(name)
    if place is None:
        pytest.skip(f"no {name}: npm i {name}, and name the folder node_modules in NODE_PATH")
    return place


def node(*words: str, folder: Path | None = None) -> str:
    """What Node.js says when it runs something."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("no node on this machine: install Node.js")
    done = subprocess.run([program, *words], check=True, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.stdout


def gltf_issues(path: Path) -> list[dict[str, Any]]:
    """What Khronos' validator finds wrong with a glTF file."""
    node_package("gltf-validator")
    return json.loads(node("-e", _VALIDATE, str(path)))["messages"]
