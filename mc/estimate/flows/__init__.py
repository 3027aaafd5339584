"""What the integrated trajectories say: losses, times, recovery, errors."""
