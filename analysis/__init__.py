"""Tables and figures from what runs wrote. Reads only the files of runs."""
