"""Speech of many pages."""

import pytest

from avdfd.core.errors import UserError
from avdfd.corpora.layouts import find_layout, list_entries
from tests.helpers.layouts import touch


def test_speech_of_many_pages(tmp_path):
    rows = [
        "real/gt1.flac,bonafide,real,LJ,u1,x/one,kind=copysyn_gt;lang=en",
        "fake/v1.flac,fake,WaveNet,LJ,u1,x/one,kind=copysyn",
        "real/p.flac,bonafide,real,VCTK-p225,u2,y/two,kind=vc_source",
        "fake/vc.flac,spoof,AutoVC,two-F_p253_219,u2,y/two,kind=vc;target=F_p253_219",
        "fake/free.flac,fake,YourTTS,VCTK-p225,,y/two,kind=vc;source=VCTK-p335",
        "fake/tts.flac,fake,VITS,someone,,y/two,kind=tts",
        "fake/gone.flac,fake,VITS,LJ,u1,x/one,kind=tts",
    ]
    touch(tmp_path, "real/gt1.flac", "real/p.flac", *(f"fake/{n}.flac" for n in ("v1", "vc", "free", "tts", "more")))
    header = "file,label,method,speaker,pair_id,source_repo,notes"
    (tmp_path / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
    assert find_layout(tmp_path) == "speech"
    entries = {entry.clip.source: entry for entry in list_entries(tmp_path, audio=True)}
    real, copy = entries["real/gt1.flac"].clip, entries["fake/v1.flac"].clip
    assert (real.tier, real.identities, real.base, real.page) == ("RVRA", ("LJ",), "real/gt1.flac", "x/one")
    assert (copy.tier, copy.identities, copy.base, copy.method) == ("RVFA-SVC", ("LJ",), "real/gt1.flac", "WaveNet")
    converted = entries["fake/vc.flac"].clip
    assert (converted.tier, converted.identities) == ("RVFA-VC", ("VCTK-p253", "VCTK-p225"))
    assert converted.base == "real/p.flac"
    free = entries["fake/free.flac"].clip
    assert (free.identities, free.base) == (("VCTK-p225", "VCTK-p335"), "fake/free.flac")
    assert (entries["fake/tts.flac"].clip.tier, entries["fake/tts.flac"].clip.identities) == (
        "RVFA", ("someone (y/two)",),
    )  # fmt: skip
    assert entries["fake/more.flac"].problem == "not listed in manifest.csv"
    assert entries["fake/gone.flac"].problem.startswith("listed in manifest.csv, but")
    with pytest.raises(UserError, match="no video files in the layout speech"):
        list_entries(tmp_path)
    (tmp_path / "manifest.csv").write_text(f"{header}\nfake/tts.flac,maybe,VITS,LJ,,y/two,\n")
    with pytest.raises(UserError, match=r"fake/tts.flac: label 'maybe'; expected bonafide or fake"):
        list_entries(tmp_path, audio=True)
