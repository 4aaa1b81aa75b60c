"""VFD, voice-face matching: two networks whose embeddings of a voice and a face are close if both match.

    B batch   E embedding   S side of a face in pixels

References:
    Cheng et al., "Voice-Face Homogeneity Tells Deepfake", arXiv 2203.02195, 2022; ACM TOMM 20 (3), 2023.
"""

from torch import Tensor, nn

from avdfd.models.vfd2022 import face_network, voice_network
from avdfd.models.vfd2023 import PatchTransformer
from avdfd.models.vfd_losses import cosine_distance, euclidean_distance


class VoiceFace(nn.Module):
    """The two networks of a year. The default sizes are the published ones.

    2022: `mel_size` (512, 301), `dim` 1024, `depth` 6, `heads` 8, `mlp_dim` (the embedding) 2048, `width` of the
    convolutions 1.0, and `faithful` (see `ConvTransformer` and `voice_network`).
    2023: `mel_size` (128, 256), `dim` 768, `depth` 12, `heads` 12, `out_dim` (the embedding) 512.
    """

    def __init__(
        self,
        *,
        year: int = 2022,
        image_size: int = 224,
        mel_size: tuple[int, int] | None = None,
        dim: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        mlp_dim: int = 2048,
        out_dim: int = 512,
        width: float = 1.0,
        faithful: bool = False,
    ) -> None:
        super().__init__()
        if year not in (2022, 2023):
            raise ValueError(f"year must be 2022 or 2023, not {year}")
        self.year = year
        self.voice: nn.Module
        self.face: nn.Module
        if year == 2022:
            sizes = {"dim": dim or 1024, "depth": depth or 6, "heads": heads or 8, "mlp_dim": mlp_dim}
            self.voice = voice_network(mel_size=mel_size or (512, 301), width=width, faithful=faithful, **sizes)
            self.face = face_network(image_size=image_size, width=width, faithful=faithful, **sizes)
        else:
            sizes = {"dim": dim or 768, "layers": depth or 12, "heads": heads or 12, "out_dim": out_dim}
            self.voice = PatchTransformer((1, *(mel_size or (128, 256))), **sizes)
            self.face = PatchTransformer((3, image_size, image_size), **sizes)

    def forward(self, voice: Tensor, face: Tensor) -> tuple[Tensor, Tensor]:
        """Mels (B, 1, bins, frames) and normalised faces (B, 3, S, S) -> their embeddings (B, E) each."""
        return self.voice(voice), self.face(face)

    def distance(self, voice: Tensor, face: Tensor) -> Tensor:
        """Distance between embeddings (B, E) of voices and faces: (B,), larger for fakes."""
        return euclidean_distance(voice, face) if self.year == 2022 else cosine_distance(voice, face)
