import pytest
import torch

from avdfd.training.precision import autocast


@pytest.mark.parametrize("precision", ["bf16", "tf32", "fp32"])
def test_a_cpu_computes_in_single_precision(precision):
    with autocast(torch.device("cpu"), precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
