"""Open a folder of elements: an element store of this repository, or a folder in the format of VFD's data."""

from avdfd.baselines.vfd_folder import VfdFolder, is_vfd_folder
from avdfd.core.errors import UserError
from avdfd.elements import ElementStore


def open_store(path: str, *kinds: str) -> ElementStore | VfdFolder:
    """Open the elements of a folder for systems of these kinds.

    Raises UserError if there are none, or if a VFD folder is opened for other systems.
    """
    if not is_vfd_folder(path):
        return ElementStore(path)
    other = next((kind for kind in kinds if kind != "vfd"), None)
    if other:
        raise UserError(
            f"{path}: a VFD folder has one image and a voice feature per clip, but {other} needs audio and video; "
            "use elements made by data/preprocess.py"
        )
    return VfdFolder(path)
