"""Plain torch modules that the host lacks."""
