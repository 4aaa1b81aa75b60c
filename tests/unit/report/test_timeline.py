"""The figure of one file over time."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from avdfd.inference.inspection import Inspection
from avdfd.inference.spool import Spooled
from avdfd.report import inspection, plots, timeline

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
        weights={"audio": timeline.Track(times, times / 10), "visual": timeline.Track(times, 1 - times / 10)},
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


def test_three_branches_over_time():
    """A clip of two overlapping windows, the audio of the second 160 ms late."""
    starts, agreement = np.array([0, 1.536]), np.full((2, 31), 0.1)
    agreement[0, 15], agreement[1, 19] = 0.6, 0.7
    names = ("audio", "consistency", "picture", "fused")
    columns = {name: np.array([0.2, 0.8]) for name in names}
    columns |= {f"w_{name}": np.array([0.5, 0.25]) for name in names[:3]}
    columns |= {"frames": np.repeat([[3.0], [-1.0]], 77, axis=1), "agreement": agreement}
    columns["mel"] = np.zeros((2, 128, 96))
    windows = [Spooled(start, start + 3.072, None, Path()) for start in starts]
    figure = inspection.figure_over_time("a", Inspection(windows, names, columns, []), 0.5)
    consistency, lags, _, scores, weights = figure.axes
    assert np.interp([0.5, 2.5, 4.0], *consistency.lines[0].get_data()) == pytest.approx([3, 1, -1])
    (bars,) = (one for one in lags.collections if isinstance(one, LineCollection))
    assert [segment[0].tolist() for segment in bars.get_segments()] == pytest.approx(
        np.array([[0, 0], [1.536, 160], [3.072, 160]])
    )
    assert [line.get_label() for line in scores.lines[1:]] == list(names)[::-1]
    assert [line.get_color() for line in weights.lines[:3]] == [plots.STYLE[name][0] for name in names[:3]]


def test_frames_of_windows_half_a_frame_apart_are_means_of_both():
    values = np.repeat([[1.0], [3.0]], 77, axis=1)
    track = timeline.over_time(np.array([0, 38.5 * 3.072 / 77]), values)
    assert [*dict.fromkeys(track.values.tolist())] == [1, 2, 3]
    assert (np.diff(track.times) > 0).all()


def test_over_time_means_where_windows_overlap():
    step = 3.072 / 4
    values = np.array([[0.0, 1, 2, 3], [4, 5, 6, 7]])
    track = timeline.over_time(np.array([0, 2 * step]), values)
    assert track.times == pytest.approx((np.arange(6) + 0.5) * step)
    assert track.values == pytest.approx([0, 1, 3, 4, 6, 7])
