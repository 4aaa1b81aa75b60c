import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread, as in a worker: threads that wait for each other on a busy machine take seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
