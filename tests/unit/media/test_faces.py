"""Faces that are found, followed and lost: drawn heads, whose places are known."""

import numpy as np
import pytest

from avdfd.config import FaceConfig
from avdfd.media.boxes import middle
from avdfd.media.faces import FaceTracker
from tests.helpers.heads import FPS, Place, frames, scene


def tracked(images, fps: float = FPS, **settings) -> FaceTracker:
    tracker = FaceTracker(FaceConfig(**settings))
    assert len(list(tracker.watch(frames(images, fps)))) == len(images)
    tracker.finish()
    return tracker


def test_moving_face_is_one_track():
    places = [Place(90 + 3 * n, 130, 150) for n in range(100)]
    tracker = tracked([scene([place]) for place in places])
    [shot] = tracker.shots
    [track] = shot.tracks
    assert 12 < len(track.samples) == len(shot.searched) < 40, "more often than a face that keeps still"
    found = [middle(sample.box)[0] - 90 - 3 * sample.time * FPS for sample in track.samples]
    assert np.std(found) < 1.5, "pixels beside a steady way"
    assert track.lost is None


def test_frames_are_searched_at_the_configured_rate():
    [shot] = tracked([scene([Place(240, 130)])] * 50, detect_fps=2.0).shots
    assert shot.searched == pytest.approx([0, 0.52, 1.04, 1.56, 1.96])


def test_several_faces_are_followed_more_closely():
    [shot] = tracked([scene([Place(120, 130), Place(350, 130, seed=5)])] * 30).shots
    assert len(shot.tracks) == 2
    assert {len(track.samples) for track in shot.tracks} == {len(shot.searched)} == {16}


@pytest.mark.parametrize("cut", [23, 24, 25, 26])
def test_cut_is_found_at_its_very_frame(cut):
    before, after = scene([Place(120, 130)], grey=40), scene([Place(360, 130, seed=5)], grey=160)
    first, second = tracked([before] * cut + [after] * (50 - cut)).shots
    assert (first.start, first.end, second.start) == (0, cut / FPS, cut / FPS)
    [one], [other] = first.tracks, second.tracks
    assert one.samples[-1].time == pytest.approx((cut - 1) / FPS)
    assert other.samples[0].time == pytest.approx(cut / FPS)
    assert middle(one.box)[0] < 200 < 300 < middle(other.box)[0]


def test_motion_is_no_cut():
    """A camera that pans over stripes changes all of the image, but no frame much more than the one before."""
    stripes = np.tile(np.repeat([60, 200], 60), 20).astype(np.uint8)
    images = [np.repeat(np.tile(stripes[8 * n : 8 * n + 480], (270, 1))[..., None], 3, axis=2) for n in range(50)]
    assert len(tracked(images).shots) == 1


def test_face_that_is_hidden_for_a_moment_is_the_same():
    head, nobody = scene([Place(240, 130)]), scene([])
    [shot] = tracked([head] * 20 + [nobody] * 8 + [head] * 22).shots
    [track] = shot.tracks
    gaps = np.diff([sample.time for sample in track.samples])
    assert gaps.max() > 0.3
    [shot] = tracked([head] * 10 + [nobody] * 100 + [head] * 20).shots
    assert len(shot.tracks) == 2, "after seconds it may be anybody"


def test_lost_face_notes_when():
    head, nobody = scene([Place(240, 130)]), scene([])
    [track] = tracked([head] * 20 + [nobody] * 20).shots[0].tracks
    assert track.samples[-1].time < 0.8 <= track.lost == pytest.approx(0.8)


def test_new_face_is_found_within_seconds():
    one, two = Place(120, 130), Place(350, 130, seed=5)
    [shot] = tracked([scene([one])] * 30 + [scene([one, two])] * 70).shots
    assert len(shot.tracks) == 2
    assert shot.tracks[1].samples[0].time < 4


def test_without_a_face_there_is_no_track():
    noise = np.random.default_rng(0).integers(0, 256, (270, 480, 3), dtype=np.uint8)
    [shot] = tracked([noise] * 30).shots
    assert shot.tracks == []
    assert len(shot.searched) == 4


@pytest.mark.parametrize(("score", "found"), [(0.0, 1), (0.5, 1), (3.0, 1)])
def test_scores_of_the_former_detector_are_understood(score, found):
    """Its scores were from 0 to 3 or so: a setting of 0 does not take everything, and one of 3 not nothing."""
    [shot] = tracked([scene([Place(240, 130, seed=5)])] * 6, min_score=score).shots
    assert len(shot.tracks) == found
