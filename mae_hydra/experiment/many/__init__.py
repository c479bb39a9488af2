"""Many runs at a glance: the list of them, filters, and what of them can go."""
