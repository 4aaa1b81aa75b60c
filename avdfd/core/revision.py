"""Revision of the running code, for the records of runs and reports."""

import functools
import subprocess
from pathlib import Path


@functools.cache  # the revision that was imported, even if the files change later
def git_revision() -> str:
    """Return the commit of the running code, with '+changes' if files differ from it; 'unknown' outside a checkout."""
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()

    try:
        revision = git("rev-parse", "HEAD")
        return revision + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (subprocess.CalledProcessError, FileNotFoundError):
        return "unknown"
