"""Sweeps: many runs of a training script, compared on validation.

points   what a search config stands for: settings, seeds, run folders
queue    trains runs, on as many GPUs as there are
child    a training script as a process that can be ended, with all of its own
results  what the run folders say, as tables
"""
