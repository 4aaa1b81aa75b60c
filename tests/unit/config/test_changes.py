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


def test_a_key_is_free_only_where_it_means_that():
    """The speed of augmented waveforms is no matter of how fast a run is."""
    old, new = ({"augment": {"waveform": {"speed": of, "noise": 0.5}}} for of in (0.0, 0.5))
    assert different_keys(old, new) == ["'augment.waveform.speed' (0.0 -> 0.5)"]
    stages = ({"finetune": {"micro_batch": size}, "micro_batch": size} for size in (2, 4))
    assert different_keys(*stages) == []


def test_a_file_that_has_moved_is_the_same_file():
    old, new = ({"model": {"front": {"file": folder + "/model.bin", "sha256": "0"}}} for folder in ("a", "b"))
    assert different_keys(old, new) == []
    new["model"]["front"]["sha256"] = "1"
    assert different_keys(old, new) == ["'model.front.sha256' (0 -> 1)"]
