"""The ``pearl-eval-bench`` command: decoders side by side in one run, limits and goals beside."""
