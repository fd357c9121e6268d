from bnonly.commands.cli import main

raise SystemExit(main())
