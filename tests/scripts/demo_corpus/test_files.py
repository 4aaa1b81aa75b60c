"""Layout, metadata and streams of the built-in corpus."""

import csv

import av

from avdfd.core.tiers import RVRA, TIERS
from data.corpus.clips import METHODS
from data.corpus.speech import RATE
from tests.helpers.demo_corpus import IDENTITIES, clips


def test_layout_and_metadata(corpus):
    with (corpus / "meta_data.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["source", "target1", "target2", "method", "category", "type", "race", "gender", "path", ""]
    listed = set()
    for source, _, _, method, category, kind, race, gender, name, folder in rows:
        assert folder == f"FakeAVCeleb/{kind}/{race}/{gender}/{source}"
        assert (method == "real") == (category == "A") == (kind == RVRA.folder)
        listed.add(corpus / kind / race / gender / source / name)
    assert listed == set(corpus.rglob("*.mp4"))
    assert {source for source, *_ in rows} == {f"id{i:05d}" for i in range(IDENTITIES)}
    for tier in METHODS:
        assert len(clips(corpus, tier, IDENTITIES)) == 2 * IDENTITIES
    assert set(METHODS) == {t for t in TIERS.values() if t.name not in ("FAKE", "RVRA-V")}
    assert not list(corpus.rglob("*.part"))
    assert not (corpus / ".partial").exists()


def test_streams(corpus):
    for path in (path for tier in METHODS for path in clips(corpus, tier)):
        with av.open(str(path)) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
            assert (video.width, video.height, video.average_rate) == (224, 224, 25)
            assert (audio.rate, audio.channels) == (RATE, 1)
            assert 5.0 <= container.duration / av.time_base <= 7.0
            assert video.start_time == audio.start_time == 0
