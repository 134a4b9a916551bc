"""Experiments with faults: games in processes of their own, a broker that is killed or paused, and what came of it."""
