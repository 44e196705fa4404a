"""Where the response cache keeps answers: the process's memory, or Redis."""
