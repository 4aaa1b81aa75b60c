"""Open a folder of elements: an element store of this repository, or a folder in the format of VFD's data."""

from avdfd.baselines.vfd_folder import VfdFolder, is_vfd_folder
from avdfd.core.errors import UserError
from avdfd.elements import ElementStore


def open_store(path: str, *kinds: str) -> ElementStore | VfdFolder:
    """The elements of a folder, for systems of these kinds.

    Raises UserError if there are none, or if one of the systems needs what a VFD folder does not have.
    """
    if not is_vfd_folder(path):
        return ElementStore(path)
    other = next((kind for kind in kinds if kind != "vfd"), None)
    if other:
        raise UserError(
            f"{path}: a VFD folder has one picture and a voice feature per clip, but {other} needs sound and video; "
            "give it elements of data/preprocess.py"
        )
    return VfdFolder(path)
