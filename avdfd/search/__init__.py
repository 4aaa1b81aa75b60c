"""Searches and ablations: many runs of the training scripts, compared in tables.

points    expansion of a search config into settings, seeds and run folders
queue     training of runs on all GPUs
child     a training script as a child process
results   states and validation metrics of runs, and tables of them
ablation  expansion of an ablation config, and tables of its test results
"""
