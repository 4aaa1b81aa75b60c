from dataclasses import replace

import pytest

from avdfd.config import PretrainConfig, parse
from avdfd.datasets import split_elements
from avdfd.datasets.split_elements import split_metas, training_elements
from avdfd.elements import ElementStore


@pytest.fixture
def cfg(small_store):
    data = {"elements": str(small_store / "elements"), "splits": str(small_store / "splits"), "fake_tiers": ["RVFA"]}
    return parse({"name": "x", "data": data}, PretrainConfig, "test")


def keys(metas):
    return [meta.key for meta in metas]


def test_a_training_start_reads_the_lists_once(cfg, small_store, monkeypatch):
    store, read = ElementStore(small_store / "elements"), []
    real = split_elements.read_splits
    monkeypatch.setattr(split_elements, "read_splits", lambda path: read.append(path) or real(path))
    found = training_elements(cfg, store)
    assert read == [cfg.data.splits]
    assert keys(found.train) == keys(split_metas(cfg, store, "train"))
    assert keys(found.validation) == keys(split_metas(cfg, store, "validation"))
    assert found.absent == ""


def test_given_tiers_apply_to_both_splits(cfg, small_store):
    found = training_elements(cfg, ElementStore(small_store / "elements"), iter(["FVRA"]))
    assert {meta.tier for meta in found.train} == {meta.tier for meta in found.validation} == {"RVRA", "FVRA"}


def test_identities_without_elements_are_named(cfg, small_store):
    store = ElementStore(small_store / "elements")
    store.metas = [replace(meta) for meta in store.metas if meta.identities != ("id7",)]
    assert training_elements(cfg, store).absent.endswith("1 of 7 identities have no elements: id7 (test)")
