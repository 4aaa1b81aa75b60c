"""Split lists: reading, drawing, page-disjoint folds, strata."""
