"""`python -m mascing`: the command line when its script is not on the path."""

import sys

from mascing.cli import main

sys.exit(main())
