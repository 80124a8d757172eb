"""From a request to its claim: candidates, filters, weighers, the pick, and the conductor."""
