"""The figure of one file over time."""

import numpy as np
import pytest

from avdfd.report import plots, timeline

BRANCHES = ("audio", "visual", "fused")


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_timeline_covers_the_span(suffix, magic):
    times = np.arange(4) * 1.536 + 1.536
    strip = [(t, np.full((8, 8, 3), int(20 * t), np.uint8)) for t in np.arange(0, 7, 0.25)]
    tracks = {b: timeline.Track(times, np.linspace(0, 1, 4)) for b in BRANCHES}
    grid = np.zeros((14, 14))
    seen = timeline.Seen(
        strip=[(t, frame, grid + t) for t, frame in strip],
        scores=tracks,
        w_audio=timeline.Track(times, times / 10),
        discrepancy=timeline.Track(times, times),
        audio=(np.zeros((128, 240)), np.linspace(0, 7.68, 241)),
        audio_effect=timeline.Track(times, -times),
    )
    figure = timeline.timeline("a $file$_.mp4", seen, span=(0, 7.68), threshold=0.5)
    film, heated, discrepancy, audio, effect, scores, weight = figure.axes
    shown = [int(np.asarray(image.get_array())[0, 0, 0]) for image in film.images]
    assert shown == sorted(shown)
    assert len(set(shown)) == 10
    heat = [float(np.asarray(image.get_array())[0, 0]) for image in heated.images[1::2]]
    assert heat == sorted(heat)
    assert {axes.get_xlim() for axes in (film, heated, discrepancy, audio, effect, scores, weight)} == {(0, 7.68)}
    assert [line.get_label() for line in scores.lines[1:]] == list(BRANCHES)[::-1]
    audio_only = timeline.timeline("a", timeline.Seen([], {"audio": tracks["audio"]}), span=(0, 7.68), threshold=0.5)
    assert len(audio_only.axes) == 1
    assert plots.encode(figure, suffix).startswith(magic)


def test_over_time_means_where_windows_overlap():
    step = 3.072 / 4
    values = np.array([[0.0, 1, 2, 3], [4, 5, 6, 7]])
    track = timeline.over_time(np.array([0, 2 * step]), values)
    assert track.times == pytest.approx((np.arange(6) + 0.5) * step)
    assert track.values == pytest.approx([0, 1, 3, 4, 6, 7])
