"""Layers inside of kernels."""

import numpy as np
import pytest
import torch

pytest.importorskip("numba")


@pytest.mark.parametrize("shape", [(64, 20), (3, 64), (16, 15), (1, 1)])
@pytest.mark.parametrize("relu", [False, True])
def test_a_layer_is_a_matrix_product(shape, relu):
    from nerfstudio_avatars.instant_avatar.field._numba_dense import LANES, dense, padded

    torch.manual_seed(0)
    weight, x = torch.randn(shape), torch.randn(shape[1], LANES)
    filled = padded(weight)
    columns = np.zeros((filled.shape[1], LANES), np.float32)
    columns[: shape[1]] = x.numpy()
    out = np.full((len(filled), LANES), np.nan, np.float32)
    dense(columns, filled, LANES, relu, out)
    expected = weight @ x
    torch.testing.assert_close(torch.from_numpy(out[: shape[0]]), expected.relu() if relu else expected)
    assert (out[shape[0] :] == 0).all()
