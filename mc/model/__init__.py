"""Define the network, activations, losses and the inverse problem, and draw them from a seed (theory §1, §2)."""
