"""From values to sealed bytes, and back."""
