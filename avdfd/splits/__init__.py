"""Split lists: reading and writing them, drawing them by protocol, page-disjoint folds, strata."""
