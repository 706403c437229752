"""Tasks: prompts, stop rules and scoring.

One module per task; each holds one :class:`tasks.task.Task` subclass whose dataclass fields are its
settings. Nothing here knows decoders.
"""
