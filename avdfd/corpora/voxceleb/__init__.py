"""Clips of VoxCeleb2 from a hub: what a server may do on the way, and tar shards that are not kept."""
