"""Page-disjoint folds: splits share nothing, and clips left out are listed with a reason."""

import csv
import itertools

import pytest

from avdfd.core.errors import UserError
from avdfd.core.tiers import OWN_METHOD, RVRA
from avdfd.splits.families import Families
from avdfd.splits.files import save
from avdfd.splits.lists import assign, read_splits
from avdfd.splits.page_disjoint import families, leave_pages_out, page_folds
from tests.unit.elements import meta


def page(name, methods, identities, *, real=True):
    """Return the clips of a page: for each identity a real clip, unless not `real`, and a fake by each method."""
    clips = []
    for identity in identities:
        original = f"{name}/{identity}.wav"
        facts = {"page": name, "identities": (identity,), "base": original}
        if real:
            clips.append(meta(identity, "RVRA", **facts, source=original, sha256=original))
        for method in methods:
            source = f"{name}/{identity}_{method}.wav"
            clips.append(meta(identity, "RVFA-SVC", **facts, source=source, sha256=source, method=method))
    return clips


def collection():
    """Return six pages with fakes, three of which share identities and two a method, and one page of real clips."""
    return [
        *page("a", ["HiFi-GAN", "WaveNet"], ["LJ", "p1"]),
        *page("b", ["HiFi-GAN-V1"], ["anna", "bert"]),
        *page("c", ["AutoVC"], ["p1", "p2"]),
        *page("d", ["VITS"], ["p2", "p3"]),
        *page("e", ["FreeVC"], ["eva", "emil"]),
        *page("f", ["Vocos"], ["fay", "finn"]),
        *page("real", [], ["r1", "r2", "LJ"]),
    ]


def split(fold, clips):
    by_source = {clip.source: clip for clip in clips}
    return {
        name: [by_source[row.source] for row in fold.rows if row.split == name]
        for name in ("train", "validation", "test")
    }


def test_splits_share_nothing():
    clips = collection()
    family = families({clip.method for clip in clips if clip.method})
    for fold in page_folds(clips, 3, 0.2):
        parts = split(fold, clips)
        for one, other in itertools.combinations(parts.values(), 2):
            for facts in (
                lambda clip: {clip.page},
                lambda clip: set(clip.identities),
                lambda clip: {family[clip.method]} if clip.method else set(),
                lambda clip: {clip.base},
                lambda clip: {clip.sha256},
            ):
                assert not set().union(*map(facts, one)) & set().union(*map(facts, other))


def test_pages_with_both_classes_are_tested_once_and_whole():
    clips = collection()
    tested = [clip.source for fold in page_folds(clips, 3, 0.2) for clip in split(fold, clips)["test"]]
    assert sorted(tested) == sorted(clip.source for clip in clips if clip.page != "real")


def test_pages_that_share_identities_are_tested_together():
    clips = collection()
    tested = [{clip.page for clip in split(fold, clips)["test"]} for fold in page_folds(clips, 3, 0.2)]
    assert {"a", "c"} in tested, "p1 removes three clips of each from training, more than other pages share"


def test_clips_left_out_are_listed_with_a_reason(tmp_path):
    clips = collection()
    folds = page_folds(clips, 3, 0.2)
    for fold in folds:
        used = {row.source for row in fold.rows}
        assert used | {source for source, _ in fold.listed} == {clip.source for clip in clips}
        assert not used & {source for source, _ in fold.listed}
        assert sum(fold.left_out.values()) == len(fold.listed)
    lines = save(tmp_path, "page_disjoint", 0, {f"fold_{n}": fold for n, fold in enumerate(folds, 1)}, clips)
    with (tmp_path / "left_out.csv").open(newline="") as file:
        rows = [(row["list"], row["source"], row["reason"]) for row in csv.DictReader(file)]
    assert rows == [(f"fold_{n}", *pair) for n, fold in enumerate(folds, 1) for pair in fold.listed]
    assert any("with a test page" in line for line in lines)
    members = assign(clips, read_splits(tmp_path / "fold_1.csv"))  # as the loaders do
    assert [len(found) for found in members.values()] == [len(found) for found in split(folds[0], clips).values()]


def test_fake_is_trained_on_only_with_a_real_clip_of_its_identity():
    clips = [*collection(), *page("g", ["StarGAN"], ["nobody"], real=False)]
    folds = page_folds(clips, 3, 0.2)
    reason = "fake without a real clip of its identity in training"
    assert all(("g/nobody_StarGAN.wav", reason) in fold.listed for fold in folds)
    for fold in folds:
        train = split(fold, clips)["train"]
        voices = {clip.identities[0] for clip in train if clip.tier == RVRA.name}
        assert {clip.identities[0] for clip in train} <= voices


def test_order_of_clips_does_not_matter():
    clips = collection()
    assert page_folds(clips, 3, 0.2) == page_folds(clips[::-1], 3, 0.2)


def test_families_of_methods():
    family = families(["HiFi-GAN", "HiFi-GAN-V1", "Tacotron2+WaveGlow", "WaveNet-MoL", "WaveNet", "WaveNet-Gaussian"])
    assert family["HiFi-GAN"] == family["HiFi-GAN-V1"]
    assert family["WaveNet-MoL"] == family["WaveNet-Gaussian"]
    assert len(set(family.values())) == 3
    assert families(["PPG-VC(BNE)", "BNE-PPG-VC"])["PPG-VC(BNE)"] == "BNE-PPG-VC"
    names = ["변조", "음성 변조", "合成", "WaveNet", "???"]
    assert len({*families(names).values()}) == 4, "names in other scripts have words, too"


def test_methods_with_a_common_vocoder_are_in_one_split():
    """AutoVC (page c) and WaveNet (page a) share nothing by name; FreeVC and VITS share HiFi-GAN with a and b."""
    rows = [
        {"method": "AutoVC", "page": "", "vocoder": "WaveNet", "converter": "AutoVC"},
        {"method": "WaveNet", "page": "", "vocoder": "WaveNet", "converter": ""},
        {"method": "Vocos", "page": "", "vocoder": "HiFi-GAN", "converter": ""},
        {"method": "FreeVC", "page": "", "vocoder": "HiFi-GAN", "converter": ""},
    ]
    clips, table = collection(), Families(rows)
    apart = 0
    for fold in page_folds(clips, 3, 0.2, table=table):
        parts = split(fold, clips)
        for one, other in itertools.combinations(parts.values(), 2):
            vocoders = [
                {part for clip in some for part in table.parts(clip.method, clip.page)} for some in (one, other)
            ]
            assert not vocoders[0] & vocoders[1]
        apart += sum("shares its vocoder" in reason for _, reason in fold.listed)
    assert apart, "by names alone these clips would be trained on"
    assert page_folds(clips, 3, 0.2, table=Families()) == page_folds(clips, 3, 0.2)


def test_too_few_pages():
    with pytest.raises(UserError, match="6 pages have real clips and fakes; 6 folds need 7 or more"):
        page_folds(collection(), 6, 0.2)
    with pytest.raises(UserError, match="1 pages have real clips and fakes"):  # all clips are of page "unknown"
        page_folds([meta(f"id{i}", tier) for i in range(9) for tier in ("RVRA", "RVFA")], 5, 0.15)


def with_own(clips, way="world"):
    """Return the clips, and a re-synthesised fake of every real clip."""
    reals = [clip for clip in clips if clip.tier == RVRA.name]
    return [
        *clips,
        *(
            meta(
                clip.identities[0],
                "RVFA-SVC",
                page=clip.page,
                identities=clip.identities,
                base=clip.source,
                source=f"own/{clip.source}",
                sha256=f"own/{clip.source}",
                method=OWN_METHOD + way,
            )
            for clip in reals
        ),
    ]


def test_own_fakes_join_their_original_and_change_nothing_else():
    clips = collection()
    everything = with_own(clips)
    for before, after in zip(page_folds(clips, 3, 0.2), page_folds(everything, 3, 0.2), strict=True):
        assert [row for row in after.rows if not row.source.startswith("own/")] == before.rows
        parts = split(after, everything)
        reals = {clip.source for clip in parts["train"] if clip.tier == RVRA.name}
        own = {clip.source for clip in parts["train"] if clip.method and clip.method.startswith(OWN_METHOD)}
        assert own == {f"own/{source}" for source in reals}
        assert {row.source for row in after.rows if row.split != "train"} & own == set()


@pytest.mark.parametrize(
    ("method", "vocoder", "way", "alike"),
    [
        ("WORLD", "", "world-shifted", True),
        ("Tacotron", "WORLD", "world", True),
        ("Vocos", "", "world", False),
        ("WORLD", "", "shifted", False),
        ("Griffin-Lim", "", "mel-griffin-lim", True),
        ("MelNet-large", "", "melnet", True),
    ],
)
def test_own_fakes_in_the_way_of_a_held_out_page_are_left_out(method, vocoder, way, alike):
    """By words, as families of methods are, of methods and of the vocoders that the table states."""
    clips = [clip for clip in collection() if clip.page != "f"] + page("f", [method], ["fay", "finn"])
    everything = with_own(clips, way)
    table = Families([{"method": "Tacotron", "page": "", "vocoder": vocoder, "converter": ""}])
    reason = "re-synthesised in the way of a validation or test page"
    found = []
    for fold in page_folds(everything, 3, 0.2, table=table):
        parts = split(fold, everything)
        held = any(clip.method == method for name in ("validation", "test") for clip in parts[name])
        trained = [clip for clip in parts["train"] if clip.method == OWN_METHOD + way]
        assert (not trained) == (held and alike)
        found.append(fold.left_out[reason] > 0)
        assert found[-1] == (held and alike)
    assert any(found) == alike


def test_only_own_fakes_are_trained_on():
    clips = with_own(collection())
    for fold in page_folds(clips, 3, 0.2, only_own=True):
        train = [clip for clip in split(fold, clips)["train"] if clip.tier != RVRA.name]
        assert train
        assert all(clip.method.startswith(OWN_METHOD) for clip in train)
        assert {row.source for row in fold.rows} | {source for source, _ in fold.listed} == {c.source for c in clips}
    with pytest.raises(UserError, match=r"only fakes made by resynthesise\.py were to be trained on"):
        page_folds(collection(), 3, 0.2, only_own=True)


def test_a_page_left_out_shares_nothing_with_the_rest():
    clips = collection()
    found = leave_pages_out(clips, Families())
    assert {page: {clips[at].page for at in held} for page, (held, _) in found.items()} == {
        page: {page} for page in [*"abcdef", "real"]
    }
    rest = {page: {clips[at].source for at in rest} for page, (_, rest) in found.items()}
    everything = {clip.source for clip in clips}
    of = {page: {clip.source for clip in clips if clip.page == page} for page in found}
    assert rest["e"] == everything - of["e"]
    # Page b has a method of page a; page c an identity, p1, as the page of real clips has LJ.
    shared = {source for source in of["c"] if "p1" in source} | {"real/LJ.wav"}
    shared |= {source for source in of["b"] if "HiFi" in source}
    assert rest["a"] == everything - of["a"] - shared


def test_own_fakes_are_not_left_out_but_trained_on_with_their_original():
    clips = collection()
    copies = [
        meta(
            clip.identities[0],
            "RVFA-SVC",
            **{"page": clip.page, "identities": clip.identities, "base": clip.source},
            **{"source": f"own/{clip.source}", "sha256": f"own/{clip.source}", "method": f"{OWN_METHOD}mel"},
        )
        for clip in clips
        if clip.tier == RVRA.name
    ]
    everything = [*clips, *copies]
    for held, rest in leave_pages_out(everything, Families()).values():
        assert not [at for at in held if everything[at].method.startswith(OWN_METHOD)]
        trained = {everything[at].source for at in rest}
        assert {f"own/{source}" for source in trained if f"own/{source}" in {copy.source for copy in copies}} == {
            source for source in trained if source.startswith("own/")
        }
