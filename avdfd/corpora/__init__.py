"""Raw data sets: layouts, adapters, manifest, duplicates, codec parity."""
