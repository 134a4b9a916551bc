"""How a program is told to end, also one that runs under nohup or in the background of a script: Ctrl-C is ignored."""

import signal

IGNORING = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")  # the command comes behind it
ENDINGS = [(signal.SIGINT, ()), (signal.SIGTERM, ()), (signal.SIGTERM, IGNORING)]  # the signal, what it runs under
