"""Who calls, and whether they may: decided in memory, for every edge alike."""
