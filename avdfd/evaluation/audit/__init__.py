"""Whether a figure can be believed: what else than the fake tells the fakes, and what crosses from training to test.

probes    small classifiers that are given one property of a clip, a cue, and nothing else
files     cues of media files          elements  cues and fingerprints of clips in a store
leaks     what is in two splits        audits    all of it, for report.json
"""
