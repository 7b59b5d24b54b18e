"""The loss core: ranking and balanced losses in plain torch."""
