"""Open a folder of elements: an element store of this repository, or a folder in the format of VFD's data."""

from avdfd.baselines.vfd_folder import VfdFolder, is_vfd_folder
from avdfd.config import MrdfConfig, RunConfig
from avdfd.core.errors import UserError
from avdfd.elements import ElementStore


def takes_whole_clips(config: RunConfig) -> bool:
    """Return True if a system takes whole clips, False if it takes windows."""
    return isinstance(config, MrdfConfig) and config.model.clips == "whole"


def open_store(path: str, *configs: RunConfig, split: str = "") -> ElementStore | VfdFolder:
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
    if not is_vfd_folder(path):
        return ElementStore(path, whole=True in whole)
    other = next((config.kind for config in configs if config.kind != "vfd"), None)
    if other:
        raise UserError(
            f"{path}: a VFD folder has one image and a voice feature per clip, but {other} needs audio and video; "
            "use elements made by data/preprocess.py"
        )
    folder = VfdFolder(path)
    if split == "all" or not configs[0].data.splits.endswith(".csv"):
        folder.check_complete()
    return folder
