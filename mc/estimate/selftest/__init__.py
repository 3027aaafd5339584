"""Coverage of the intervals and error rates of the rules at known truths."""
