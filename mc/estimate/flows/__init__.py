"""Flows: losses, times to convergence, recovery and errors along the integrated trajectories."""
