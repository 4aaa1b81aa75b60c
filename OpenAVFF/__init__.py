"""Modules of the AVFF baseline and the ViT that it shares with stage 2; they import nothing from avdfd.

References:
    Oorloff et al., "AVFF: Audio-Visual Feature Fusion for Video Deepfake Detection", CVPR 2024.
    OpenAVFF, the public re-implementation whose state_dict keys are kept.
"""
