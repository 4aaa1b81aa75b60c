"""Open elements: an element store of this repository, or a folder or list in a format of VFD's data."""

from pathlib import Path

from avdfd.baselines.vfd_folder import VfdFolder, is_vfd_folder
from avdfd.baselines.vfd_list import VfdList, is_vfd_list
from avdfd.config import CountermeasureConfig, MrdfConfig, RunConfig
from avdfd.core.errors import UserError
from avdfd.elements import ElementStore
from avdfd.features.window import FPS, SAMPLE_RATE, frames_of


def takes_whole_clips(config: RunConfig) -> bool:
    """Return True if a system takes whole clips, False if it takes windows."""
    return isinstance(config, MrdfConfig | CountermeasureConfig) and config.model.clips == "whole"


def longest_clip(config: RunConfig) -> float:
    """Return the duration in seconds that a system takes of a whole clip, in whole frames."""
    if isinstance(config, CountermeasureConfig):
        return frames_of(config.model.samples / SAMPLE_RATE) / FPS
    assert isinstance(config, MrdfConfig), "takes_whole_clips is true"
    return config.model.max_steps / FPS


def open_store(path: str, *configs: RunConfig, split: str = "") -> ElementStore | VfdFolder | VfdList:
    """Open the elements of a folder for systems with these configs.

    Raises UserError if there are none, if a system takes other elements, and if one system takes whole clips and
    another one windows; and for an incomplete VFD folder, if no clip list of the first config names the clips to use,
    or if `split` is "all".
    """
    whole = {takes_whole_clips(config) for config in configs}
    if len(whole) > 1:
        names = [config.name for config in configs if takes_whole_clips(config)]
        raise UserError(
            f"{path}: run '{names[0]}' takes whole clips, and others windows; evaluate each on its own store, then "
            "pair their clips with compare.py"
        )
    published = open_vfd(path)
    if published is None:
        return ElementStore(path, whole=True in whole)
    other = next((config.kind for config in configs if config.kind != "vfd"), None)
    if other:
        raise UserError(
            f"{path}: a VFD folder has one image and a voice feature per clip, but {other} needs audio and video; "
            "use elements made by data/preprocess.py"
        )
    if split == "all" or not configs[0].data.splits.endswith(".csv"):
        published.check_complete()
    return published


def open_vfd(path: str | Path) -> VfdFolder | VfdList | None:
    """Open a folder or list in a format of VFD; None for other folders."""
    if is_vfd_list(path):
        return VfdList(path)
    return VfdFolder(path) if is_vfd_folder(path) else None
