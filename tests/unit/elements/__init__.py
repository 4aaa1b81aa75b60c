"""Synthetic metadata for tests."""

from avdfd.core.tiers import tier
from avdfd.elements import ElementMeta


def meta(identity: str, tier_name: str, clip: int = 0, window: int = 0, **changes) -> ElementMeta:
    """Return metadata of a window of a clip in FakeAVCeleb's layout."""
    kind = tier(tier_name)
    source = f"{kind.folder}/Asian/men/{identity}/{clip:05d}.mp4"
    values = {
        "key": f"{identity}_{tier_name}_{clip:05d}_{window:02d}",
        "tier": tier_name,
        "identities": (identity,),
        "source": source,
        "base": f"{identity}/{clip:05d}",
        "method": "",
        "race": "Asian",
        "gender": "men",
        "start": float(window),
        "end": window + 3.072,
        "sha256": f"sha of {source}",
        "version": "test",
    }
    return ElementMeta(**{**values, **changes})
