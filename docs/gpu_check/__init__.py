"""What is checked and measured on a machine with one GPU, in a few minutes: ``make gpu-check``.

It needs Python with torch and transformers, this checkout, and the wheels that ``make gpu-wheels``
has gathered; no network and no ``.venv``. It is no part of the installed package. The modules that
choose and run steps import nothing but Python's own library.
"""
