"""Pools of classifiers, trained as the papers on data-free meta-learning train theirs."""
