"""Shortcut probes: a planted cue is found, no cue gives chance, and a clean corpus passes."""

import numpy as np
import pytest

from avdfd.evaluation.audit.probes import SHORTCUT, Clip, probe_auc, probe_tiers


@pytest.fixture
def draws() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of 30 identities with two real and two fake clips each, and a cue without information."""
    labels = np.tile([0, 0, 1, 1], 30)
    groups = np.repeat(np.arange(30), 4)
    return labels, groups, np.random.default_rng(0).normal(5, 1, len(labels))


def corpus(seed=0, identities=30, tiers=("RVRA", "RVFA", "FVRA"), **planted) -> list[Clip]:
    """Two recordings of each identity, one clip of each in every tier; cues are noise except those planted in RVFA."""
    rng = np.random.default_rng(seed)
    clips = []
    for identity in range(identities):
        for number in range(2):
            for tier in tiers:
                cues = {
                    "duration": rng.normal(5, 1),
                    "bit_rate": rng.normal(1e5, 1e4),
                    "edge_silence": rng.exponential(0.1),
                    "tags": frozenset(["format=mp4", f"height={rng.choice([224, 256])}"]),
                    "first_frame": rng.normal(0, 1, 30),
                }
                if tier == "RVFA":
                    cues |= {name: change(cues[name]) for name, change in planted.items()}
                clips.append(Clip(tier, (f"id{identity}",), f"{identity}/{number}", cues))
    return clips


def shortcuts(clips: list[Clip]) -> set[tuple[str, str]]:
    return {(tier, cue) for tier, cues in probe_tiers(clips).table.items() for cue, one in cues.items() if one.shortcut}


def test_planted_cue_is_caught(draws):
    labels, groups, cue = draws
    assert probe_auc(cue + 4 * labels, labels, groups) > 0.9
    assert probe_auc(cue - 4 * labels, labels, groups) > 0.9


def test_unusual_spread_is_caught(draws):
    labels, groups, cue = draws
    assert probe_auc(5 + (cue - 5) * np.where(labels == 1, 20.0, 1.0), labels, groups) > 0.9


def test_no_cue_is_chance(draws):
    labels, groups, _ = draws
    rng = np.random.default_rng(1)
    aucs = [probe_auc(rng.standard_normal(len(labels)), labels, groups) for _ in range(20)]
    assert abs(np.mean(aucs) - 0.5) < 0.05


def test_constant_cue_is_chance(draws):
    labels, groups, _ = draws
    assert probe_auc(np.full(len(labels), 16_000.0), labels, groups) == 0.5


def test_cue_that_names_the_identity_is_no_shortcut(draws):
    """Values shared by the real and fake clips of an identity carry no information about another identity."""
    labels, groups, _ = draws
    assert probe_auc(np.random.default_rng(2).normal(0, 1, 30)[groups], labels, groups) == pytest.approx(0.5)


def test_units_of_a_cue_do_not_matter(draws):
    labels, groups, cue = draws
    assert probe_auc(1e6 * cue, labels, groups) == pytest.approx(probe_auc(cue, labels, groups))


@pytest.mark.parametrize(("labels", "groups"), [([1, 1, 1, 1], [0, 0, 1, 1]), ([0, 1, 0, 1], [0, 0, 0, 0])])
def test_one_class_or_one_group_is_an_error(labels, groups):
    with pytest.raises(ValueError, match="both classes"):
        probe_auc([1, 2, 3, 4], labels, groups)


@pytest.mark.parametrize("seed", range(4))
def test_a_clean_corpus_is_not_flagged(seed):
    assert shortcuts(corpus(seed)) == set()


def test_a_small_clean_corpus_is_not_flagged_though_some_of_its_probes_are_high():
    tables = [probe_tiers(corpus(seed, identities=9)).table for seed in range(3)]
    assert max(one.auc for table in tables for cues in table.values() for one in cues.values()) > SHORTCUT
    assert not any(one.shortcut for table in tables for cues in table.values() for one in cues.values())


@pytest.mark.parametrize(
    ("cue", "change"),
    [
        ("edge_silence", lambda seconds: seconds + 0.3),
        ("bit_rate", lambda rate: 0.6 * rate),
        ("duration", lambda seconds: seconds + 4),
        ("tags", lambda tags: tags | {"encoder=Lavf61"}),
        ("first_frame", lambda statistics: statistics + 2 * (np.arange(30) == 12)),
    ],
)
def test_each_planted_shortcut_is_caught_and_nothing_else(cue, change):
    assert shortcuts(corpus(**{cue: change})) == {("RVFA", cue)}


def test_a_probe_without_both_classes_on_both_sides_is_left_out_by_name():
    """The fakes of FVRA are of one identity, so no classifier can be fitted on some and tested on others."""
    clips = [clip for clip in corpus(identities=9) if clip.tier != "FVRA" or clip.identities == ("id0",)]
    table, left_out = probe_tiers(clips)
    assert set(table["RVFA"]) == {"duration", "bit_rate", "edge_silence", "tags", "first_frame", "identity"}
    assert left_out["RVFA"] == {}
    assert "duration" not in table["FVRA"]
    assert left_out["FVRA"]["duration"] == "no fold has both classes on both sides"


def test_cues_that_the_clips_do_not_have_are_listed():
    table, left_out = probe_tiers(corpus(identities=4), {"loudness": "needs waveforms"})
    assert left_out == {tier: {"loudness": "needs waveforms"} for tier in ("RVFA", "FVRA")}
    assert set(table) == set(left_out)


def test_nothing_to_probe_is_an_error():
    with pytest.raises(ValueError, match="there are no real clips and fakes"):
        probe_tiers(corpus(tiers=("RVRA",)))
    with pytest.raises(ValueError, match="at least two groups"):
        probe_tiers([clip._replace(base="same") for clip in corpus(identities=1)])


def test_identities_that_are_only_fake_are_found():
    clips = [
        c for c in corpus(identities=20) if (c.tier == "RVRA") == (int(c.identities[0][2:]) < 10) or c.tier == "FVRA"
    ]
    table = probe_tiers(clips).table
    assert table["RVFA"]["identity"].auc > 0.9
    assert table["RVFA"]["identity"].shortcut
    assert probe_tiers(corpus()).table["RVFA"]["identity"].auc <= 0.5
