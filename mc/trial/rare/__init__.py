"""Rare failures: probabilities far below one over the number of trials, by splitting and by tilted sampling.

A failure is the event that a continuous margin of the network falls to a threshold. Splitting reaches it through levels
that a pilot has fixed, so every repetition is an unbiased estimate; tilting is a second estimator where the tilted law
is known in closed form. `docs/rare.md` has the proofs and the measurements.
"""
