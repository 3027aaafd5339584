"""How many trials an answer takes: planning and adaptive allocation."""
