"""`python -m naruto_add` is `naruto-add`."""

import sys

from naruto_add.cli import main

sys.exit(main())
