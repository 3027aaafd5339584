"""``python -m mc`` is ``dipmc``."""

import sys

from mc.cli import main

sys.exit(main())
