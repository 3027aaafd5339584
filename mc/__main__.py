"""``python -m mc`` is ``dipmc``."""

import sys

from mc.cli.main import main

sys.exit(main())
