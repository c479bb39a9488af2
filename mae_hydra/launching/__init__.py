"""How runs are started: by hand, as processes of one machine, as jobs of a sweep, one after the other."""
