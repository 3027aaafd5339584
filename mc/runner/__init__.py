"""Plan the blocks of an experiment, and compute them in worker pools, adaptive rounds, or job arrays."""
