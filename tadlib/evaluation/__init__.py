"""How good is it, and is that more than chance? Metrics, protocols, floors and ceilings."""
