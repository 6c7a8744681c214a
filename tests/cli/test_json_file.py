"""Figures in files that every JSON reader understands."""

import json
import math

import pytest

from nerfstudio_avatars.cli.json_file import write_json


def test_what_is_no_number_becomes_null(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": math.nan, "b": [1, math.inf, {"c": -math.inf}], "d": "nan", "e": True, "f": (0.5, None)})

    def refuse(constant):
        raise AssertionError(constant)

    found = json.loads(path.read_text(), parse_constant=refuse)
    assert found == {"a": None, "b": [1, None, {"c": None}], "d": "nan", "e": True, "f": [0.5, None]}


def test_a_failure_leaves_what_was_there(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
