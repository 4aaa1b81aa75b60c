"""Counterfactuals: tests of whether a score depends on the relation of audio and video, for any run.

A stream of clips is replaced, and the scores are compared with those of the clips' own streams.

strangers    pairs of real clips that swap their audio
store        a store whose elements have a stream replaced when they are read
case         one counterfactual, and the names of all
cases        the elements of each counterfactual, and what is replaced in them
whole_clips  the same for whole clips
summary      scores and metrics
rule         the rule by which a score uses the relation
"""
