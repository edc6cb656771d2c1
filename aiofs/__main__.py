"""`python -m aiofs`: the command line."""

import sys

from aiofs.cli import main

sys.exit(main())
