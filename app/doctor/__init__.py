"""The doctor: what stands in the lab's way on this machine, why it matters, and the command that cures it."""
