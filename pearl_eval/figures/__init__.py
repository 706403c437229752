"""Pictures of runs, each a function of what runs wrote that gives a matplotlib figure."""
