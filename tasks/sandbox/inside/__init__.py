"""What runs inside the sandbox of one check: three processes, and only the standard library.

The *warden* is the first process of the sandbox. It sets the time, and starts the *judge*, which
knows the tests. The judge starts the *candidate*, which runs the generated program, and calls it by
messages. So program and tests never share an interpreter.
"""
