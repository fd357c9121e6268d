"""What a trained network looks like inside, from its weights file (Section 5)."""
