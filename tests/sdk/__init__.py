"""What a pack's author imports."""
