"""resynthesise.py: a root of real speech and its re-synthesised fakes, listed like other roots."""

import csv
import hashlib

import numpy as np
import pytest

from avdfd.core.errors import UserError
from avdfd.corpora.layouts import list_entries
from avdfd.elements.form import encode_wav
from data.preprocessing import resynthesise
from tests.unit.corpora.vocoding.test_vocoding import voice

TABLE = """file,tier,identity,base,method,page
real/a.wav,RVRA,anna,real/a.wav,real,p
real/b.wav,RVRA,bert,real/b.wav,real,q
fake/a.wav,RVFA-VC,anna,real/a.wav,FreeVC,p
"""


@pytest.fixture
def root(tmp_path):
    for name in ("real/a", "real/b", "fake/a"):
        path = tmp_path / "speech" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_wav(voice(0.3) if name != "real/b" else np.full(500, 0.1, np.float32), 16_000))
    (tmp_path / "speech" / "clips.csv").write_text(TABLE)
    return tmp_path / "speech"


def run(root, *more):
    out = root.parent / "own"
    ways = '--ways=["mel-phase", "shifted"]'
    return resynthesise.main([f"--input={root}", f"--output={out}", ways, "--workers=1", *more]), out


def test_fakes_are_beside_all_clips_and_failures_are_listed(root):
    code, out = run(root)
    assert code == 1, "real/b.wav is too short for both ways"
    listed = {entry.clip.source: entry.clip for entry in list_entries(out, audio=True)}
    assert set(listed) == {
        "real/a.wav",
        "real/b.wav",
        "fake/a.wav",
        "own/mel-phase/real/a.wav.wav",
        "own/shifted/real/a.wav.wav",
    }
    own = listed["own/shifted/real/a.wav.wav"]
    assert (own.tier, own.method, own.base, own.page) == ("RVFA-VC", "own-shifted", "real/a.wav", "p")
    assert own.identities == ("anna",)
    assert listed["fake/a.wav"].method == "FreeVC"
    assert (out / "real/a.wav").read_bytes() == (root / "real/a.wav").read_bytes()
    with (out / "problems.csv").open(newline="") as file:
        problems = {row["source"]: row["reason"] for row in csv.DictReader(file)}
    assert set(problems) == {"own/mel-phase/real/b.wav.wav", "own/shifted/real/b.wav.wav"}
    assert "0.03 s of audio are too short" in problems["own/shifted/real/b.wav.wav"]
    made = (out / "own/shifted/real/a.wav.wav").stat().st_mtime_ns
    assert run(root, "--max_problems=0.5")[0] == 0
    assert (out / "own/shifted/real/a.wav.wav").stat().st_mtime_ns == made


def test_vocoded_clips_are_real_and_of_their_own_tier(root, capsys):
    out = root.parent / "vocoded"
    given = [f"--input={root}", f"--output={out}", "--real=true", "--workers=1", "--max_problems=0.5"]
    assert resynthesise.main(given) == 0
    assert "7 vocoded real clips made of 2 real ones" in capsys.readouterr().out
    listed = {entry.clip.source: entry.clip for entry in list_entries(out, audio=True)}
    made = listed["vocoded/telephone/real/a.wav.wav"]
    assert (made.tier, made.label, made.method, made.base) == ("RVRA-V", 0, "vocoded-telephone", "real/a.wav")
    assert (made.identities, made.page) == (("anna",), "p")
    assert {clip.tier for clip in listed.values()} == {"RVRA", "RVFA-VC", "RVRA-V"}


PAGES = {"p": [f"real/{number}.wav" for number in range(5)], "q": ["real/5.wav", "real/6.wav"]}


@pytest.fixture
def pages(tmp_path):
    """A root of two pages, with five and with two real clips."""
    (tmp_path / "speech/real").mkdir(parents=True)
    lines = [f"{source},RVRA,anna,{source},real,{page}" for page, sources in PAGES.items() for source in sources]
    for source in PAGES["p"] + PAGES["q"]:
        (tmp_path / "speech" / source).write_bytes(encode_wav(voice(0.3), 16_000))
    (tmp_path / "speech/clips.csv").write_text("\n".join([TABLE.partition("\n")[0], *lines]))
    return tmp_path / "speech"


def test_a_limit_a_page_takes_the_smallest_digests_in_any_order(pages, capsys):
    smallest = sorted(PAGES["p"], key=lambda source: hashlib.sha256(source.encode()).hexdigest())[:2]
    expected = {f"own/{way}/{source}.wav" for way in ("mel-phase", "shifted") for source in [*smallest, *PAGES["q"]]}
    head, *lines = (pages / "clips.csv").read_text().splitlines()
    for order in (lines, lines[::-1]):
        (pages / "clips.csv").write_text("\n".join([head, *order]))
        code, out = run(pages, "--per_page=2")
        assert code == 0
        listed = {entry.clip.source for entry in list_entries(out, audio=True)}
        assert listed == {*PAGES["p"], *PAGES["q"], *expected}, "all real clips stay"
        assert {str(path.relative_to(out)) for path in out.glob("own/**/*.wav")} == expected
    assert "7 clips, 8 fakes made of 4 real ones" in capsys.readouterr().out


def test_a_limit_a_page_needs_pages(pages):
    (pages / "clips.csv").write_text((pages / "clips.csv").read_text().replace(",q", ","))
    with pytest.raises(UserError, match=r"^per_page: no page is stated for 2 of the real clips, such as real/5\.wav"):
        run(pages, "--per_page=2")
    assert run(pages)[0] == 0


@pytest.mark.parametrize("value", ["0", "-1", "1.5", '"2"', "true"])
def test_a_limit_a_page_is_a_positive_integer(pages, value):
    with pytest.raises(UserError, match="key 'per_page' is "):
        run(pages, f"--per_page={value}")


def test_wrong_requests(root):
    with pytest.raises(UserError, match="no way 'shifted' that keeps the speaker; use some of griffin-lim"):
        run(root, "--real=true")
    with pytest.raises(UserError, match="no way 'hifigan'"):
        run(root, '--ways=["hifigan"]')
    with pytest.raises(UserError, match="lies within the input"):
        resynthesise.main([f"--input={root}", f"--output={root / 'own'}"])
