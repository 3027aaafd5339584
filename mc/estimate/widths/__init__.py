"""The width at which a probability crosses a level, and how that width scales."""
