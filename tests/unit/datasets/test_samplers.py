"""Samplers: orders of an epoch, pairs, balanced tiers."""

from collections import Counter

import pytest

from avdfd.core.errors import UserError
from avdfd.datasets.samplers import Paired, Sequential, Shuffled, with_fakes
from avdfd.elements import coded
from tests.unit.elements import meta

METAS = [meta(i, t, window=w) for i in "abc" for t in ("RVRA", "RVFA", "RVFA-VC") for w in range(2)]


def test_sequential_visits_each_once_without_augmentation():
    draws = [d for batch in Sequential(7, 3) for d in batch]
    assert [d.position for d in draws] == list(range(7))
    assert all(d.seed is None for d in draws)
    assert len(Sequential(7, 3)) == 3


def test_shuffled_is_a_function_of_seed_and_epoch():
    sampler = Shuffled(10, 4, seed=3)
    first = list(sampler)
    assert [len(b) for b in first] == [4, 4, 2]
    positions = [d.position for b in first for d in b]
    assert positions != sorted(positions) == list(range(10))
    assert list(sampler) == first
    sampler.epoch = 1
    second = list(sampler)
    assert [d.position for b in second for d in b] != positions
    assert {d.seed for b in first for d in b}.isdisjoint(d.seed for b in second for d in b)
    assert list(Shuffled(10, 4, seed=4)) != first


def test_pairs_are_of_one_identity():
    sampler = Paired(METAS, pairs=4, seed=0, source="s")
    batches = list(sampler)
    assert len(batches) == len(sampler) == 3
    fakes = []
    for batch in batches:
        reals, partners = batch[:4], batch[4:]
        for real, fake in zip(reals, partners, strict=True):
            assert METAS[real.position].label == 0
            assert METAS[fake.position].label == 1
            assert METAS[real.position].identities == METAS[fake.position].identities
        fakes += [d.position for d in partners]
    assert len(set(fakes)) == len(fakes) == 12
    assert len({d.seed for b in batches for d in b}) == 24


PARTLY = [
    meta("a", "RVRA"),
    *(meta("a", "FVFA", 0, w, audio_fake_periods="[[0, 1.05]]", visual_fake_periods="[[0, 0.5]]") for w in range(3)),
]
"""A real window, and windows with 1.05, 0.05 and no seconds of fake audio."""


def test_training_leaves_out_windows_of_fakes_without_enough_fake_seconds():
    assert with_fakes(PARTLY, 0.1, "s") == PARTLY[:2]
    assert with_fakes(PARTLY, 0.04, "s") == PARTLY[:3]
    assert with_fakes(PARTLY, 0, "s") is PARTLY
    assert with_fakes(METAS, 0.1, "s") is METAS  # whole clips are fake
    assert with_fakes(PARTLY[:1], 0.1, "s") == PARTLY[:1]
    with pytest.raises(UserError, match=r"s: no training window of a fake has 2 fake seconds; lower data.min_fake"):
        with_fakes(PARTLY, 2, "s")


def test_real_windows_of_fake_clips_are_real_in_pairs():
    (batch,) = Paired(PARTLY, pairs=2, seed=0, source="s")
    assert {draw.position for draw in batch[:2]} <= {0, 3}
    assert {draw.position for draw in batch[2:]} == {1, 2}


def test_partners_vary_by_default_and_not_in_faithful_mode():
    def partners(first_real):
        sampler = Paired(METAS, pairs=4, seed=0, source="s", first_real=first_real)
        seen = set()
        for sampler.epoch in range(5):
            seen |= {d.position for batch in sampler for d in batch[:4]}
        return seen

    assert partners(False) == {0, 1, 6, 7, 12, 13}
    assert partners(True) == {0, 6, 12}


def test_fake_without_real_partner_is_refused():
    with pytest.raises(UserError, match="no RVRA element of identity 'z'"):
        Paired([*METAS, meta("z", "RVFA")], pairs=2, seed=0, source="s")


def test_fewer_fakes_than_a_batch_are_refused():
    with pytest.raises(UserError, match=r"12 fake elements are fewer than optim.batch_size = 13"):
        Paired(METAS, pairs=13, seed=0, source="s")


def tiers_of(draws, metas=METAS):
    return [metas[d.position].tier for d in draws]


def test_balanced_epochs_have_equally_many_of_each_tier():
    metas = [meta("a", "RVRA", window=w) for w in range(2)] + [meta("b", "RVFA", window=w) for w in range(10)]
    sampler = Shuffled(12, 5, seed=0, tiers=coded(metas, "tier"))
    batches = list(sampler)
    assert [len(batch) for batch in batches] == [5, 5, 2] == [len(batch) for batch in Shuffled(12, 5, seed=0)]
    draws = [d for batch in batches for d in batch]
    assert Counter(tiers_of(draws, metas)) == {"RVRA": 6, "RVFA": 6}
    assert all({"RVRA", "RVFA"} == set(tiers_of(batch, metas)) for batch in batches)
    assert Counter(d.position for d in draws if d.position < 2) == {0: 3, 1: 3}  # in turn
    assert len({d.position for d in draws if d.position >= 2}) == 6  # none of them twice
    assert len({d.seed for d in draws}) == 12  # repeated elements are augmented differently
    assert list(sampler) == batches
    seen = set()
    for sampler.epoch in range(8):
        seen |= {d.position for batch in sampler for d in batch}
    assert seen == set(range(12))


def test_balanced_pairs_have_equally_many_of_each_tier():
    metas = [meta(i, "RVRA") for i in "ab"] + [meta(i, "RVFA", window=w) for i in "ab" for w in range(5)]
    metas += [meta("a", "RVFA-VC", window=w) for w in range(2)]
    batches = list(Paired(metas, pairs=4, seed=0, source="s", balance=True))
    assert len(batches) == 3
    fakes = [d for batch in batches for d in batch[4:]]
    assert Counter(tiers_of(fakes, metas)) == {"RVFA": 6, "RVFA-VC": 6}
    assert len({d.seed for batch in batches for d in batch}) == 24
    for batch in batches:
        for real, fake in zip(batch[:4], batch[4:], strict=True):
            assert metas[real.position].tier == "RVRA"
            assert metas[real.position].identities == metas[fake.position].identities


def test_pairs_are_of_one_page():
    metas = [
        meta("a", "RVRA", page="p"),
        meta("b", "RVFA", page="p"),
        meta("b", "RVRA", page="q"),
        meta("a", "RVFA", page="q"),
    ]
    for batch in Paired(metas, pairs=2, seed=0, source="s", by="page"):
        real, fake = batch[:2], batch[2:]
        assert [metas[d.position].page for d in real] == [metas[d.position].page for d in fake]
        assert all(metas[d.position].label == 0 for d in real)
    with pytest.raises(UserError, match="no RVRA element of page 'r'"):
        Paired([*metas, meta("c", "RVFA", page="r")], pairs=2, seed=0, source="s", by="page")


def test_any_real_element_is_a_partner_without_identities():
    metas = [meta(name, tier) for name, tier in zip("abcdef", ["RVRA"] * 3 + ["FAKE"] * 3, strict=True)]
    with pytest.raises(UserError, match=r"no RVRA element of identity 'd', .* pair them otherwise by pair_by"):
        Paired(metas, pairs=3, seed=0, source="s")
    sampler = Paired(metas, pairs=3, seed=0, source="s", by="any")
    partners = set()
    for sampler.epoch in range(9):
        (batch,) = sampler
        assert [metas[draw.position].label for draw in batch] == [0, 0, 0, 1, 1, 1]
        partners |= {(real.position, fake.position) for real, fake in zip(batch[:3], batch[3:], strict=True)}
    assert partners == {(real, fake) for real in range(3) for fake in range(3, 6)}
