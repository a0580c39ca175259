"""Records in words: one file per format. Formats get cases and a few settings, and return lines or text.

Nothing here decides or measures; ``cells`` words one number, ``order`` sorts cases, and every format is built on both.
"""
