"""evtkit in the tools of others, one small module an ecosystem; none is imported until you do."""
