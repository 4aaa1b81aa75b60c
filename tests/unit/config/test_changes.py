from avdfd.config.changes import different_keys


def test_relevant_differences_of_configs_are_named():
    old = {
        "seed": 0,
        "device": "cpu",
        "speed": {"compile": False},
        "data": {"workers": 4, "splits": "a"},
        "optim": {"lr": 1.0},
    }
    new = {
        "seed": 0,
        "device": "cuda",
        "speed": {"compile": True},
        "data": {"workers": 0, "splits": "b"},
        "optim": {"lr": 2.0},
    }
    assert different_keys(old, new) == ["'data.splits' (a -> b)", "'optim.lr' (1.0 -> 2.0)"]
