"""Audits of the data: shortcuts that give fakes away, and leaks between splits.

probes       small classifiers that are given a single property of a clip, a cue
page_probes  the same under cross-validation by page
files        cues of media files
elements     cues and fingerprints of clips in a store
leaks        identities, source clips and near-duplicates in two splits
audits       all of it, for report.json
verdicts     what counts as found
"""
