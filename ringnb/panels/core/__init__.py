"""What every panel is built on."""
