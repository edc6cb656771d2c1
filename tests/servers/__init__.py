"""Real servers for the tests: each started on a free loopback port when first asked for, and ended with the run."""
