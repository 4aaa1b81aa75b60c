"""Verdicts on an audit."""

from avdfd.evaluation.audit import verdicts


def make_audit(leaks=(), **aucs):
    """An audit of files with these AUCs by cue, of which chance alone explains up to 0.7."""
    probes = {cue: {"auc": auc, "by_chance": 0.7, "shortcut": auc > 0.7} for cue, auc in aucs.items()}
    return {"probes": {"files": {"RVFA": probes}}, "leaks": list(leaks), "clips": {}}


def test_shortcuts_are_those_that_chance_does_not_explain():
    audit = make_audit(duration=0.71, loudness=0.93, bit_rate=0.62, tags=0.55)
    assert verdicts.shortcuts(audit) == [("RVFA", "loudness", 0.93), ("RVFA", "duration", 0.71)]
    assert verdicts.possible_shortcuts(audit) == [("RVFA", "bit_rate", 0.62)]


def test_an_audit_passes_without_shortcuts_and_leaks():
    assert verdicts.passes({})
    assert verdicts.passes(make_audit(loudness=0.62))
    assert not verdicts.passes(make_audit(loudness=0.93))
    leak = {"kind": "identity", "what": "id0", "splits": ["test", "train"], "clips": []}
    assert not verdicts.passes(make_audit([leak], loudness=0.5))
