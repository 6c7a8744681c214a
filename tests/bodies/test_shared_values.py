"""Values that are few in a file and many when walked through."""

import numpy as np
import pytest
import torch

from nerfstudio_avatars.bodies import shared_values
from nerfstudio_avatars.bodies.shared_values import check_shared_values


def test_what_a_file_holds_may_be_large_and_shown_again():
    array = np.zeros(1000)
    check_shared_values({"a": array, "b": [array, (array, "text")], "c": torch.zeros(3, 4)})


@pytest.mark.parametrize("make", [lambda: np.zeros(100), lambda: torch.zeros(100), lambda: list(range(100))])
def test_what_is_shown_too_often_is_refused(monkeypatch, make):
    monkeypatch.setattr(shared_values, "MOST_SHOWN", 1000)
    value = make()
    check_shared_values([value] * 5)
    with pytest.raises(ValueError, match="shown so often"):
        check_shared_values([value] * 20)


def test_an_expanded_tensor_is_as_large_as_it_looks(monkeypatch):
    monkeypatch.setattr(shared_values, "MOST_SHOWN", 1000)
    with pytest.raises(ValueError, match="shown so often"):
        check_shared_values({"poses": torch.zeros(1).expand(2000)})


def test_what_holds_itself_is_refused():
    value: list = []
    value.append({"a": value})
    with pytest.raises(ValueError, match="holds itself"):
        check_shared_values(value)
