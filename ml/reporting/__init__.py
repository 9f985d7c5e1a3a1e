"""What a build's report says: few-shot accuracy beside the trivial baselines of its own pool."""
