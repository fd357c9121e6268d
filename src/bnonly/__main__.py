from bnonly.cli import main

raise SystemExit(main())
