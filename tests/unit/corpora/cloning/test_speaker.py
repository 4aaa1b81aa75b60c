import sys
import types

import numpy as np
import pytest
import torch

from avdfd.config import EcapaConfig, Ge2eConfig
from avdfd.core.errors import MediaError, UserError
from avdfd.corpora.cloning import speaker
from avdfd.features.window import SAMPLE_RATE
from data.corpus.speech import Voice, speak

TEXTS = ("my brother painted the old bridge near the river", "the captain found five purple flowers")
VOICES = (Voice("m3", 45, 60, 165), Voice("f4", 40, 60, 165))


@pytest.fixture(scope="module")
def embed():
    return speaker.open_encoder(Ge2eConfig())


def test_same_voice_is_nearer_than_another_for_any_text(embed):
    vectors = {
        (v, t): embed(speak(text, voice).samples) for v, voice in enumerate(VOICES) for t, text in enumerate(TEXTS)
    }
    assert all(vector.shape == (256,) and np.linalg.norm(vector) == pytest.approx(1) for vector in vectors.values())
    same = min(vectors[v, 0] @ vectors[v, 1] for v in (0, 1))
    other = max(vectors[0, a] @ vectors[1, b] for a in (0, 1) for b in (0, 1))
    assert same > other + 0.1


def test_level_and_silence_hardly_matter(embed):
    quiet = 0.01 * speak(TEXTS[0], VOICES[0]).samples.astype(np.float32)
    silence = np.zeros(SAMPLE_RATE, np.float32)
    assert embed(quiet) @ embed(np.concatenate([silence, 3 * quiet, silence])) > 0.98


@pytest.mark.parametrize("seconds", [0.0, 0.3, 2.0])
def test_too_little_speech_is_reported(embed, seconds):
    with pytest.raises(MediaError, match=r"only 0\.\d\d s of speech"):
        embed(np.zeros(int(seconds * SAMPLE_RATE), np.float32))


def test_pieces_cover_the_audio():
    second = torch.ones(SAMPLE_RATE)
    assert speaker._pieces(second[:100]).shape == (1, 160, 40)
    assert speaker._pieces(torch.ones(4 * SAMPLE_RATE)).shape == (4, 160, 40)  # 0, 0.8, 1.6, 2.4 s


def test_missing_weights_name_the_remedy(monkeypatch):
    speaker._ge2e.cache_clear()
    monkeypatch.setattr(speaker.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="weights are not installed; run bash setup.sh"):
        speaker.open_encoder(Ge2eConfig())


def test_ecapa_without_its_library_or_folder_is_reported(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "speechbrain", None)
    monkeypatch.setitem(sys.modules, "speechbrain.inference.speaker", None)
    with pytest.raises(UserError, match="SpeechBrain is not installed"):
        speaker.open_encoder(EcapaConfig(folder=str(tmp_path)))
    fake_speechbrain(monkeypatch, [])
    with pytest.raises(UserError, match=r"no hyperparams\.yaml"):
        speaker.open_encoder(EcapaConfig(folder=str(tmp_path)))


def test_ecapa_is_opened_from_its_folder_alone(monkeypatch, tmp_path):
    calls: list[dict] = []
    fake_speechbrain(monkeypatch, calls)
    (tmp_path / "hyperparams.yaml").touch()
    vector = speaker.open_encoder(EcapaConfig(folder=str(tmp_path)))(np.full(SAMPLE_RATE, 0.1, np.float32))
    assert vector.tolist() == pytest.approx([0.6, 0.8])
    assert calls[0]["source"] == calls[0]["savedir"] == calls[0]["overrides"]["pretrained_path"] == str(tmp_path)


def fake_speechbrain(monkeypatch, calls):
    """Replace the part of SpeechBrain that is used."""

    class EncoderClassifier:
        @classmethod
        def from_hparams(cls, **kwargs):
            calls.append(kwargs)
            return cls()

        def encode_batch(self, waveforms):
            assert waveforms.shape[0] == 1
            return torch.tensor([[[3.0, 4.0]]])

    module = types.ModuleType("speechbrain.inference.speaker")
    module.EncoderClassifier = EncoderClassifier
    monkeypatch.setitem(sys.modules, "speechbrain", types.ModuleType("speechbrain"))
    monkeypatch.setitem(sys.modules, "speechbrain.inference", types.ModuleType("speechbrain.inference"))
    monkeypatch.setitem(sys.modules, "speechbrain.inference.speaker", module)


PUBLISHED = """
# Could say anything! !apply:os.system
n_mels: 80
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: !ref <n_mels>
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    channels: [1024, 1024]
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables: {embedding_model: !ref <embedding_model>}
"""


def test_hyperparameters_that_run_code_are_refused(tmp_path):
    path = tmp_path / "hyperparams.yaml"
    path.write_text(PUBLISHED)
    speaker._refuse_code(path)
    for line in (
        "x: !apply:os.system [echo]",
        "x: !new:subprocess.Popen",
        "x: {y: !name:os.system}",
        "x: [!include:other.yaml]",
        "x: !!python/object/apply:os.system [echo]",
        "x: !new:speechbrain.lobes.features.Fbank.os.system",
        "%TAG ! tag:x,2000:",
        "x: !<tag:yaml.org,2002:python/name:os.system>",
        "y: 1\r    x: !module:os",
    ):
        path.write_text(f"{PUBLISHED}{line}\n")
        with pytest.raises(UserError, match=r"hyperparams.yaml: has .* could run any code"):
            speaker._refuse_code(path)
