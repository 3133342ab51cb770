"""Real brokers to rehearse, test and measure with, each with its own ports, names and folders (design, section 11)."""
