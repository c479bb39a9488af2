"""What was recorded by an earlier run or by somebody else: read as it stands, and what may be done with it."""
