"""The search for noise that holds on photos: candidates, copiers, a refuter and the eye."""
