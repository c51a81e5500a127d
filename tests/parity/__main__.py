from tests.parity import main

raise SystemExit(main())
