"""`python -m keras_roots`."""

import sys

from keras_roots.cli import main

sys.exit(main())
