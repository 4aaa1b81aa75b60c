"""Choice of the clips of which something is changed."""

from collections import Counter

from avdfd.elements import ElementStore
from avdfd.evaluation.changed import sample
from tests.helpers.runs import TIERS


def test_sample_takes_so_many_clips_of_each_tier_with_all_their_windows(small_store):
    store = ElementStore(small_store / "elements")
    some = sample(store.metas, 3, seed=0)
    sources = {meta.source: meta.tier for meta in some}
    assert Counter(sources.values()) == dict.fromkeys(TIERS, 3)
    assert len(some) == 2 * len(sources)
    assert [meta.key for meta in sample(store.metas, 3, seed=0)] == [meta.key for meta in some]
    assert [meta.key for meta in sample(store.metas, 3, seed=1)] != [meta.key for meta in some]
    assert len(sample(store.metas, 0, seed=0)) == len(store.metas)
    assert len(sample(store.metas, 100, seed=0)) == len(store.metas)
