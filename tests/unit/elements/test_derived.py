from avdfd.elements import ElementStore
from avdfd.elements.derived import DerivedStore
from tests.helpers.runs import make_store


def test_it_states_what_the_store_does(tmp_path):
    store = ElementStore(make_store(tmp_path) / "elements")
    derived = DerivedStore(store)
    assert derived.store is store
    for name in ("root", "metas", "version", "whole", "has_waveforms", "has_frames", "has_landmarks"):
        assert getattr(derived, name) == getattr(store, name), name
