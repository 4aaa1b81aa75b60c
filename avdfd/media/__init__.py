"""The only package that opens media: decoding, windows, faces, audio chain, codecs, muxing, fingerprints."""
