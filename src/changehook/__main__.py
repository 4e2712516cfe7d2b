"""python -m changehook: the command line."""

from changehook.cli import main

raise SystemExit(main())
