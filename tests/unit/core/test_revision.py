import subprocess

from avdfd.core.revision import git_revision
from tests.paths import ROOT


def test_revision_is_that_of_the_checkout():
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert git_revision().removesuffix("+changes") == head.strip()
