"""Programs that lessons start as processes of their own."""
