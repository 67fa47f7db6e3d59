"""What the pack runtime dials by itself: the package index, for a build of an air-gapped deployment."""
