"""The embedded data: small painted scenes, made anew from integers."""
