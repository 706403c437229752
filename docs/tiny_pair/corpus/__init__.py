"""Generated text: functions, word problems, dialogue and standard-library sources."""
