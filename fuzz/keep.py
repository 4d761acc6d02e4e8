#!/usr/bin/env python3
"""Copies a corpus into the repository, the smallest inputs first, up to a size:

  fuzz/keep.py FROM TO BYTES

The name of an input is a hash of its content. Inputs in TO whose names begin with "regression-" stay.
"""

import hashlib
import sys
from pathlib import Path

source, target, most = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for old in target.iterdir():
    if not old.name.startswith("regression-"):
        old.unlink()
for data in sorted((path.read_bytes() for path in source.iterdir()), key=lambda data: (len(data), data)):
    most -= len(data)
    if most < 0:
        break
    (target / hashlib.sha1(data).hexdigest()[:16]).write_bytes(data)
