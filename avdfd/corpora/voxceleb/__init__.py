"""Clips of VoxCeleb2 from a hub: resumable downloads of tar shards, which are not stored."""
