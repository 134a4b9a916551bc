"""A program as it runs under nohup, or in the background of a script: Ctrl-C is ignored."""

IGNORING = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")  # the command comes behind it
