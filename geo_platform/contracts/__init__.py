"""Stage messages (frozen, closed, versioned) and the load-time verifier. See docs/contracts.md."""
